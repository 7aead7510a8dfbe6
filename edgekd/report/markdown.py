"""report.json for a reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekd.budget import TEACHER, Verdict
from edgekd.report import cuts, search_page
from edgekd.report.looks import table, taught

FIRST = {"supernet": "its part of the supernet", "pruned": "what is left of its teacher"}


def markdown(report: dict[str, Any]) -> str:
    how = report["measurement"]
    clock = {"cpu": "thread CPU", "wall": "wall"}[how["clock"]]
    lines = [
        f"# {report['pipeline']} on {report['target']}: ships `{report['shipped']}`, budget {report['state']}",
        "",
        *(f"- {Verdict(**verdict)}" for verdict in report["verdicts"]),
        "",
        "| variant | accuracy on test | against teacher | p50 ms | times faster | size kB | integer layers |",
        "|---|---|---|---|---|---|---|",
        *(_row(name, row) for name, row in report["variants"].items()),
        "",
        f"Accuracy: of the exported file in its runtime, n = {_n(report)}; its change is paired, 90 % interval in "
        "points. Latency: "
        f"{how['kind']}, batch {how['batch']}, one comparison: {how['processes']} processes x {how['rounds']} rounds; "
        f"p50 of wall time, ratios of {clock} time with 95 % intervals over processes. Contention (wall / CPU) "
        f"{'not known' if how['noise']['contention'] is None else how['noise']['contention']}.",
        *(f"Too noisy to rely on: {reason}." for reason in how["noise"]["reasons"]),
        f"Device: {how['device']['model']}, {', '.join(how['device']['isa'])}. Dialect: {report['dialect']}.",
        "",
        f"{report['precision']}.",
        *(f"- `{name}` does not ship: {why}" for name, why in report["rejected"].items()),
        *(f"- `{name}` could not be written: {why}" for name, why in report["not_written"].items()),
        "",
        *_replayed(report["replayed"]),
        *_distillation(report["distillation"]),
        *_sparsity(report),
        *(search_page.markdown(report["search"]) if report["search"] else []),
        *(cuts.of_build(report["pruned"], report["variants"]) if report.get("pruned") else []),
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, row: dict[str, Any]) -> str:
    accuracy = row["accuracy_test_percent"]["interval"]
    change = row["accuracy_change_points"]["interval"]
    p50 = row["latency"]["latency_p50_ms"][0]
    faster = row["speedup_over"].get(TEACHER)
    covered = row["coverage"]
    cells = [
        name,
        f"{accuracy[0]:.1f} %",
        "" if name == TEACHER else f"{change[0]:+.1f} [{change[1]:+.1f}, {change[2]:+.1f}]",
        f"{p50:.3f}",
        f"{faster[0]:.2f} [{faster[1]:.2f}, {faster[2]:.2f}]" if faster else "1",
        f"{row['size_bytes'] / 1e3:.0f}",
        f"{covered['integer']} of {covered['total']}",
    ]
    return f"| {' | '.join(cells)} |"


def _replayed(differences: list[str] | None) -> list[str]:
    if differences is None:
        return []
    said = [f"- {sentence}" for sentence in differences] or ["- nowhere"]
    return ["Built from a lock. Where today would have come out otherwise:", *said, ""]


def _distillation(told: dict[str, Any]) -> list[str]:
    kept = [look for look in told["training"]["looks"] if look["epoch"] == told["training"]["kept"]]
    lines = ["## Distillation", ""]
    if kept:
        last = kept[-1]
        lines += [f"Val after {last['epoch']} epochs: {100 * last['right'] / last['n']:.1f} % (n {last['n']}).", ""]
    if first := told["training"].get("first"):
        lines += [f"The student started from {FIRST[first]}.", ""]
    if begun := told["training"]["start"]:
        blocks = ", ".join("fresh" if block is None else str(block + 1) for block in begun["blocks"])
        lines += [f"The student started from the teacher's blocks {blocks}.", ""]
    lines += taught(told["training"].get("targets"))
    warnings = [*([told["training"]["alarm"]] if told["training"]["alarm"] else []), *told["advice"]]
    lines += [*(f"- {sentence}" for sentence in warnings), *([""] if warnings else [])]
    lines += ["| on test | agrees with teacher | KL(teacher, it) | loyalty | ECE | NLL |", "|---|---|---|---|---|---|"]
    for name, row in told["test"].items():
        lines.append(
            f"| {name} | {100 * row['agreement']:.1f} % | {row['kl']:.3f} | {row['probability_loyalty']:.3f} | "
            f"{row['ece']:.3f} | {row['nll']:.3f} |"
        )
    lines += ["", "The float student and its teacher in torch; shifted: noise, blur or less contrast:", ""]
    return [*lines, *table(told["looks"]), ""]


def _sparsity(report: dict[str, Any]) -> list[str]:
    """What is zero, and what that saves: bytes of a compressed file, no time by itself."""
    told = report["distillation"]["training"].get("sparsity")
    if not told:
        return []
    return [
        "## Sparsity",
        "",
        f"{told['plan']}: {told['zeros_percent']:.1f} % of the weights of {len(told['layers'])} layers are zero "
        "in the student; the exported graph was counted, and holds them. A runtime without kernels for "
        "them computes every zero: what is faster stands in the table above, and is measured.",
        "",
        *(
            [f"Before the training, of a net of this shape with random weights: {'; '.join(report['zeros'])}.", ""]
            if report.get("zeros")
            else []
        ),
        "| variant | kB | kB compressed | kB packed |",
        "|---|---|---|---|",
        *(
            f"| {name} | {row['size_bytes'] / 1e3:.0f} | {row['compressed_bytes'] / 1e3:.0f} | {_packed(row)} |"
            for name, row in report["variants"].items()
        ),
        "",
        "Packed: a bit a weight and the values that are not zero, as an ONNX file holds them with `pack_zeros` of the "
        "runtime in the device's profile; ONNX Runtime spreads them out as it opens the file.",
        "",
    ]


def _packed(row: Mapping[str, Any]) -> str:
    size = row.get("packed_bytes")
    return "" if size is None else f"{size / 1e3:.0f}"


def _n(report: dict[str, Any]) -> int:
    return int(next(iter(report["variants"].values()))["accuracy_test_percent"]["n"])
