"""`edgekd data`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli.console import print_json
from edgekd.cli.options import AllowCode, PipelineName, Verbose, WorkspaceOption

if TYPE_CHECKING:
    from collections.abc import Mapping

app = typer.Typer(help="A look at the data of a pipeline.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """A look at the data of a pipeline."""


@app.command("inspect")
def inspect(
    pipeline: PipelineName,
    workspace: WorkspaceOption = None,
    allow_code: AllowCode = False,
    verbose: Verbose = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """
    Read a pipeline's data as a build would: splits, classes, sizes, what cannot be read, near duplicates.

    What was read is kept: the build goes on from there.

    Example:
      edgekd data inspect mine.yaml
    """
    from edgekd import api
    from edgekd.cli.progress import Watcher
    from edgekd.pipeline import load_pipeline

    with Watcher(verbose=bool(verbose)) as watcher:
        about = api.inspect_data(load_pipeline(pipeline), workspace=workspace, listener=watcher, allow_code=allow_code)
    if as_json:
        print_json(about)
    else:
        _show(about)


def _show(about: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{' x '.join(map(str, about['image']))} (channels, height, width)")
    splits = list(about["splits"])
    for heading in ("class", *splits):
        table.add_column(heading)
    for name, counts in about["classes"].items():
        table.add_row(escape(name), *(str(counts[split]) for split in splits))
    console = Console()
    console.print(table)
    console.print(f"splits: {about['rule']}", markup=False, highlight=False)
    report = about.get("report", {})
    for what, why in report.get("unreadable", []):
        console.print(f"cannot be read: {what}: {why}", markup=False, highlight=False)
    for test, train in report.get("near_duplicates", []):
        console.print(f"near duplicates: {test} (test) and {train} (train)", markup=False, highlight=False)
    sizes = ", ".join(f"{size} ({count})" for size, count in list(report.get("sizes", {}).items())[:5])
    if sizes:
        console.print(f"sizes as found: {sizes}", markup=False, highlight=False)
