"""`edgekd distill`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from edgekd.cli.console import print_json
from edgekd.cli.options import AllowCode, PipelineName, Set, TensorBoard, Verbose, WorkspaceOption
from edgekd.units import duration


def distill(
    pipeline: PipelineName,
    student: Annotated[
        str, typer.Option(help="resnet20 (6 n + 2 layers), a folder that edgekd left, or a .yaml of a shape.")
    ],
    out: Annotated[Path, typer.Option(help="The student's folder: config.json, weights, report.")] = Path("student"),
    set_: Set = None,
    workspace: WorkspaceOption = None,
    tensorboard: TensorBoard = None,
    allow_code: AllowCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
    verbose: Verbose = 0,
) -> None:
    """
    Train one student on the data and by the teacher and losses of a PIPELINE, without search and quantisation.

    What comes out is a Hugging Face folder that transformers load, with accuracy, agreement with the teacher, KL, ECE
    and NLL on train, val, test and shifted pictures beside it.

    Examples:
      edgekd distill digits --student resnet8 --out student

      edgekd distill flowers.yaml --student resnet20 --allow-code

      edgekd distill flowers.yaml --student shape.yaml --set 'distill.losses=[{name: pld}]' --tensorboard runs
    """
    from edgekd.cli.progress import Watcher
    from edgekd.cli.tensorboard import logged
    from edgekd.distilling import distil
    from edgekd.pipeline import load_pipeline

    start = time.perf_counter()
    with Watcher(verbose=bool(verbose)) as watcher:
        report = distil(
            load_pipeline(pipeline, set_ or ()), student, out=out, workspace=workspace,
            listener=logged(watcher, tensorboard), allow_code=allow_code,
        )  # fmt: skip
        watcher.said(f"{watcher.ran} stages ran, {watcher.cached} cached, {duration(time.perf_counter() - start)}")
    if as_json:
        print_json({"folder": str(out), "report": report})
        return
    _show(report, out)


def _show(report: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("samples", "n", "teacher %", "student %", "agree", "ECE", "NLL", title=report["pipeline"])
    for name, row in report["looks"].items():
        table.add_row(
            name, str(row["n"]), f"{row['teacher']['accuracy_percent']:.1f}", f"{row['accuracy_percent'][0]:.1f}",
            f"{100 * row['agreement']:.1f} %", f"{row['ece']:.3f}", f"{row['nll']:.3f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    if report["training"]["alarm"]:
        console.print(f"warning: {report['training']['alarm']}", markup=False)
    console.print(f"student: {out}", soft_wrap=True)
