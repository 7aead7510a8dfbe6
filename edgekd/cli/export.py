"""`edgekd export`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli.build import exit_code
from edgekd.cli.console import print_json
from edgekd.cli.options import Inconclusive, Target, Verbose, WorkspaceOption, parse_numbers
from edgekd.units import duration

if TYPE_CHECKING:
    from edgekd.deploy.bundle import Built

RECIPES = (
    "min-max", "percentile", "entropy", "mse", "bias-correction", "equalisation", "smooth", "neural-compressor",
)  # fmt: skip


def export(
    model: Annotated[Path | None, typer.Argument(help="An ONNX file, in float.")] = None,
    target: Target = "local-cpu",
    data: Annotated[
        Path | None,
        typer.Option(help="Samples, .npz: `images` of 0 to 255 or an array an input, and `labels` if there are any."),
    ] = None,
    mean: Annotated[str | None, typer.Option(help="Of pixels / 255, by channel: 0.485,0.456,0.406")] = None,
    std: Annotated[str | None, typer.Option(help="The same for their deviation.")] = None,
    calibrate: Annotated[
        Path | None, typer.Option(help="Samples that ranges are taken from; else from --data.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help=f"{', '.join(RECIPES)}; else min-max, and what keeps most if that loses.")
    ] = None,
    max_accuracy_drop: Annotated[float, typer.Option(min=0.0, help="In points, against the model as it is.")] = 0.5,
    max_latency_ms: Annotated[float | None, typer.Option(min=1e-6, help="A limit for p50.")] = None,
    max_size_mib: Annotated[float | None, typer.Option(min=1e-6, help="A limit for the file.")] = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="The weights are random: measure speed, ask no accuracy.")
    ] = False,
    labels: Annotated[str | None, typer.Option(help="The classes' names: cat,dog,frog")] = None,
    out: Annotated[Path, typer.Option(help="Where the bundle goes, as OUT/<model>/<target>.")] = Path("dist"),
    workspace: WorkspaceOption = None,
    locked: Annotated[Path | None, typer.Option(help="Export again what this edgekd.lock says.")] = None,
    inconclusive: Inconclusive = "pass",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
    verbose: Verbose = 0,
) -> None:
    """
    Quantise and export a MODEL as it is: in every runtime of the target, measured here, proved, never slower.

    Each runtime gets int8 in its own dialect; all variants run interleaved in the same processes. What ships is the
    fastest that keeps the accuracy, and the model as it is where nothing is faster. The report says why for the rest.

    Examples:
      edgekd export resnet20.onnx --data eval.npz --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225

      edgekd export bert.onnx --data sentences.npz --max-accuracy-drop 1

      edgekd export --locked dist/resnet20/local-cpu/edgekd.lock --out again
    """
    if inconclusive not in ("pass", "fail"):
        raise typer.BadParameter(f"{inconclusive!r}: pass or fail", param_hint="--inconclusive")
    if (model is None) == (locked is None):
        raise typer.BadParameter("give either a MODEL or --locked", param_hint="MODEL")
    if model is not None and data is None:
        raise typer.BadParameter("needed: accuracy is measured on it, ranges are taken of it", param_hint="--data")
    if recipe not in (None, *RECIPES):
        raise typer.BadParameter(f"{recipe!r}: one of {', '.join(RECIPES)}", param_hint="--recipe")
    from edgekd import exporting
    from edgekd.budget import Budget
    from edgekd.cli.progress import Watcher

    start = time.perf_counter()
    with Watcher(verbose=bool(verbose)) as watcher:
        where: dict[str, Any] = {"workspace": workspace, "out": out, "listener": watcher}
        if locked is not None:
            done = exporting.export_again(locked, **where)
        else:
            assert model is not None
            assert data is not None
            limits = Budget(
                accuracy_drop_points=None if untrained else max_accuracy_drop,
                latency_p50_ms=max_latency_ms,
                size_mib=max_size_mib,
            )
            done = exporting.export(
                model, data, target=target, calibration_data=calibrate, recipe=recipe,  # type: ignore[arg-type]
                mean=parse_numbers(mean, "--mean"), std=parse_numbers(std, "--std"), budget=limits,
                labels=labels.split(",") if labels else (), trained=not untrained, **where,
            )  # fmt: skip
        watcher.said(f"{watcher.ran} stages ran, {watcher.cached} cached, {duration(time.perf_counter() - start)}")
    if as_json:
        print_json({"folder": str(done.folder), "report": done.report})
    else:
        _show(done)
    raise typer.Exit(exit_code([done], inconclusive))


def _show(done: Built) -> None:
    from rich.console import Console
    from rich.table import Table

    report = done.report
    table = Table(title=f"{report['name']} on {done.target}")
    for heading in ("variant", "val %", "change, points", "p50 ms", "times faster", "kB", "int8"):
        table.add_column(heading, no_wrap=True)
    for name, row in report["variants"].items():
        change, speedup = row["accuracy_change_points"], row["speedup"]
        table.add_row(
            f"[bold]{name}[/bold]" if name == report["shipped"] else name,
            f"{row['accuracy_val_percent']['interval'][0]:.1f}",
            "" if name == report["base"] else f"{change[0]:+.1f} [{change[1]:+.1f}, {change[2]:+.1f}]",
            f"{row['latency']['latency_p50_ms'][0]:.3f}",
            "1" if name == report["base"] else f"{speedup[0]:.2f} [{speedup[1]:.2f}, {speedup[2]:.2f}]",
            f"{row['size_bytes'] / 1e3:.0f}",
            f"{row['coverage']['integer']}/{row['coverage']['total']}",
        )
    console = Console()
    console.print(table)
    sentences = [f"{report['shipped']} ships"]
    sentences += [f"{name} does not ship: {why}" for name, why in report["rejected"].items()]
    sentences += [f"{name} could not be written: {why}" for name, why in report["not_written"].items()]
    sentences += [str(verdict) for verdict in done.verdicts]
    sentences += [
        f"Too noisy to rely on these latencies: {reason}." for reason in report["measurement"]["noise"]["reasons"]
    ]
    for sentence in sentences:
        console.print(sentence, markup=False, highlight=False)
    console.print(f"bundle: {done.folder}", soft_wrap=True)
