"""`edgekd prune`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from edgekd.cli.console import print_json
from edgekd.cli.options import AllowCode, OnDevice, PipelineName, Set, Verbose, WorkspaceOption
from edgekd.units import duration


def prune(
    pipeline: PipelineName,
    latency_ratio: Annotated[
        list[str], typer.Option(help="Share of the int8 net's latency that is wanted; several: 0.8,0.65,0.5.")
    ],
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="The device whose latency counts; else the pipeline's first.")
    ] = None,
    device: OnDevice = None,
    runtime: Annotated[str | None, typer.Option(help="One of the device's runtimes; else its first.")] = None,
    step: Annotated[int, typer.Option(min=1, help="Units between two widths that are tried.")] = 8,
    stages: Annotated[bool, typer.Option("--stages", help="Cut the width of whole stages too.")] = False,
    judged: Annotated[
        str,
        typer.Option("--judged", help="What units are worth by: answers, trajectory (OPTIN), macs, or scales."),
    ] = "answers",
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", help="Hold width, depth, uniform or magnitude beside it, at the same latency; may be given again."
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of cutting and teaching, each an equal share of the way.")] = 1,
    parameters_ratio: Annotated[
        float, typer.Option(help="Share of the parameters that may be left, beside the latency: 0.35 for a small file.")
    ] = 1.0,
    out: Annotated[Path, typer.Option(help="A folder for each latency: checkpoint, int8 file, what went.")] = Path(
        "pruned"
    ),
    set_: Set = None,
    workspace: WorkspaceOption = None,
    allow_code: AllowCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
    verbose: Verbose = 0,
) -> None:
    """
    Take units out of the teacher of a PIPELINE until it is as fast as asked, and let it teach what is left.

    What each width costs is measured on the device, on whole int8 nets; what each loses is seen on training images.
    The units that go are those that lose least for the time they take. All latencies come from one such look; with
    --rounds each net is taught and looked at again on its way. The
    smaller net is trained as `distill` says, quantised, and measured beside the whole one.

    Examples:
      edgekd prune digits --latency-ratio 0.5

      edgekd prune cifar.yaml --latency-ratio 0.8,0.65,0.5,0.4 --runtime litert --set distill.epochs=5

      edgekd prune cifar.yaml --latency-ratio 0.5 --judged macs --set distill.epochs=30

      edgekd prune cifar.yaml --latency-ratio 0.65 --runtime litert --by uniform --by magnitude

      edgekd prune cifar.yaml --latency-ratio 0.65 --by width --by depth

      edgekd prune cifar.yaml --latency-ratio 0.3 --stages --rounds 2

      edgekd prune cifar.yaml --latency-ratio 0.5 --device ssh://pi@raspberrypi.local --target rpi5
    """
    from edgekd.cli.progress import Watcher
    from edgekd.hardware.remote.farm import reached
    from edgekd.pipeline import load_pipeline
    from edgekd.prune.stages import By, Judged
    from edgekd.pruning import Pruning, prune_net, ratios_of

    start = time.perf_counter()
    ways = get_args(Judged)
    if judged not in ways:
        raise typer.BadParameter(f"{judged!r}: {' or '.join(ways)}", param_hint="--judged")
    if odd := [name for name in by or () if name not in get_args(By)]:
        raise typer.BadParameter(f"{odd[0]!r}: {', '.join(get_args(By))}", param_hint="--by")
    asked = Pruning(
        ratios=ratios_of(latency_ratio),
        by=tuple(dict.fromkeys(("latency", *(cast(By, name) for name in by or ())))),
        step=step,
        streams=stages,
        judged=cast(Judged, judged),
        rounds=rounds,
        parameters=parameters_ratio,
    )
    there = reached(device or "local")
    with Watcher(verbose=bool(verbose)) as watcher:
        report = prune_net(
            load_pipeline(pipeline, set_ or ()), asked, target=target or there.profile,
            runtime=runtime or there.runtime, out=out, workspace=workspace, listener=watcher, allow_code=allow_code,
            device=there.address,
        )  # fmt: skip
        watcher.said(f"{watcher.ran} stages ran, {watcher.cached} cached, {duration(time.perf_counter() - start)}")
    if as_json:
        print_json({"folder": str(out), "report": report})
        return
    _show(report, out)


def _show(report: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from edgekd.report.cuts import gone, measured_share

    table = Table(
        "net", "right on test", "change, points", "share of latency", "parameters gone",
        title=f"{report['pipeline']} on {report['target']}, {report['runtime']}",
    )  # fmt: skip
    for name, variant in report["variants"].items():
        right = f"{variant['accuracy_test_percent'][0]:.1f} %"
        if name not in report["pruned"]:
            table.add_row(name, right, "", "", "")
            continue
        row = report["pruned"][name]
        change, share = row["change_points"]["teacher-int8"], measured_share(row)
        table.add_row(
            name, right, f"{change[0]:+.1f} [{change[1]:+.1f}, {change[2]:+.1f}]",
            f"{share[0]:.2f} [{share[1]:.2f}, {share[2]:.2f}]", f"{gone(row, 'parameters'):.0f} %",
        )  # fmt: skip
    console = Console()
    console.print(table)
    for reason in report["noise"]["reasons"]:
        console.print(f"Too noisy to rely on these latencies: {reason}.", markup=False)
    console.print(f"left in {out}", soft_wrap=True)
