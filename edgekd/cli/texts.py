"""What `edgekd build` prints of a build of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekd.deploy.bundle import Built


def show(built: Built, *, quick: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    report = built.report
    title = f"{report['pipeline']} on {built.target}, {report['length']} tokens"
    table = Table("variant", quality_is(report), "p50 ms", "times faster", "MB", title=title)
    for name, row in report["variants"].items():
        faster = row.get("speedup_over", {}).get("teacher-fp32")
        table.add_row(
            f"{name} (ships)" if name == report["shipped"] else name,
            quality(row["test"]),
            f"{row['latency']['latency_p50_ms'][0]:.3f}" if "latency" in row else "",
            f"{faster[0]:.2f} [{faster[1]:.2f}, {faster[2]:.2f}]" if faster else "1" if "latency" in row else "",
            f"{row['size_bytes'] / 1e6:.1f}" if "size_bytes" in row else "",
        )
    console = Console()
    console.print(table)
    for sentence in [*map(str, built.verdicts), *built.undecided]:
        console.print(sentence, markup=False, highlight=False)
    for reason in report["measurement"]["noise"]["reasons"] if "measurement" in report else ():
        console.print(f"Too noisy to rely on these latencies: {reason}.", markup=False)
    if quick:
        console.print("--quick shows the chain; it trains too little for these figures to mean much.")
    console.print(f"bundle: {built.folder}", soft_wrap=True)


def quality_is(report: dict[str, Any]) -> str:
    if report["task"] == "text-classification":
        return "accuracy on test"
    return "Spearman x 100" if "pairs" in report["variants"][report["shipped"]]["test"] else "like the teacher"


def quality(test: dict[str, Any]) -> str:
    if "accuracy_percent" in test:
        return f"{test['accuracy_percent'][0]:.1f} %"
    if "spearman" in test:
        return f"{100 * test['spearman'][0]:.2f}"
    return f"{test['fidelity'][0]:.3f}"
