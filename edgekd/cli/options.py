"""Arguments and options as types: what each is called and what --help says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PipelineName = Annotated[
    str, typer.Argument(metavar="PIPELINE", help="A shipped pipeline's name, or a path ending in .yaml.")
]
Targets = Annotated[
    list[str] | None, typer.Option("--target", "-t", help="Build for this device instead; may be given again.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a setting; may be given again.")
]
Quick = Annotated[bool, typer.Option("--quick", help="About a minute: shows the chain, not what it can reach.")]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option(help="Where finished work is kept; else $EDGEKD_HOME, else the platform's cache folder."),
]
MaybePipeline = Annotated[
    str | None, typer.Argument(metavar="PIPELINE", help="A shipped pipeline's name, or a path ending in .yaml.")
]
Out = Annotated[Path, typer.Option(help="Where bundles go, as OUT/<pipeline>/<target>.")]
TimeBudget = Annotated[
    str | None, typer.Option(help="Train and search less, so that the estimate keeps to this: 90s, 8m, 1h30m.")
]
Locked = Annotated[Path | None, typer.Option(help="Build again what this edgekd.lock says, instead of a PIPELINE.")]
Inconclusive = Annotated[
    str, typer.Option(help="What an undecidable limit means: pass (with a warning) or fail (exit code 5).")
]
Samples = Annotated[int, typer.Option(min=0, help="Put N images of the test split into the bundle; none unless asked.")]
ReportsAsJson = Annotated[bool, typer.Option("--json", help="Print the reports as JSON on stdout.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="-v: cached stages; -vv: tracebacks.")]
