"""`edgekd search`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from edgekd.cli.console import print_json
from edgekd.cli.options import AllowCode, OnDevice, PipelineName, Set, Verbose, WorkspaceOption
from edgekd.units import duration


def search(
    pipeline: PipelineName,
    target: Annotated[
        str | None, typer.Option(help="The device whose latency counts; without it the pipeline's first.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where student.yaml, search.md, .json and .svg go.")] = Path("search"),
    set_: Set = None,
    workspace: WorkspaceOption = None,
    allow_code: AllowCode = False,
    device: OnDevice = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON on stdout.")] = False,
    verbose: Verbose = 0,
) -> None:
    """
    Find the student of a PIPELINE's space that a device deserves, without training it to the end.

    Candidates are scored without training; the best are measured on the device as int8, with random weights; the best
    of those that keep the budget are distilled for a short while, and the better ones for longer. A build takes from
    the workspace what is finished here.

    Examples:
      edgekd search digits --out search

      edgekd search flowers.yaml --target local-cpu --set search.candidates=500 --set search.race.students=24

      edgekd search digits --device ssh://pi@raspberrypi.local --target rpi5

      edgekd search flowers.yaml && edgekd distill flowers.yaml --student search/student.yaml
    """
    from edgekd.cli.progress import Watcher
    from edgekd.hardware.remote.farm import reached
    from edgekd.pipeline import load_pipeline
    from edgekd.searching import find_student

    start = time.perf_counter()
    there = reached(device) if device else None
    with Watcher(verbose=bool(verbose)) as watcher:
        told = find_student(
            load_pipeline(pipeline, set_ or ()), target=target or (there.profile if there else None), out=out,
            workspace=workspace, listener=watcher, allow_code=allow_code, device=there.address if there else None,
            runtime=there.runtime if there else None,
        )  # fmt: skip
        watcher.said(f"{watcher.ran} stages ran, {watcher.cached} cached, {duration(time.perf_counter() - start)}")
    if as_json:
        print_json(told)
        return
    _show(told, out)


def _show(told: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "candidate", "params", "M MACs", "p50 ms", "feasible", "val %", title=f"{told['pipeline']}, {told['target']}"
    )
    for row in told["shortlist"]:
        val = "" if row["val_percent"] is None else f"{row['val_percent'][0]:.1f}"
        name = f"{row['id']} *" if row["id"] in told["front"] else row["id"]
        table.add_row(
            name, f"{row['params']:.0f}", f"{row['macs'] / 1e6:.2f}", f"{row['latency_p50_ms'][0]:.3f}",
            "yes" if row["feasible"] else "no", val,
        )  # fmt: skip
    console = Console()
    console.print(table)
    if told["worth"]:
        console.print(told["worth"]["sentence"], soft_wrap=True, markup=False)
    console.print(f"student: {told['chosen']}, {out / 'student.yaml'}", soft_wrap=True)
