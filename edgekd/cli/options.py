"""Options that several commands share."""

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
    typer.Option(help="Where finished work is kept. [default: $EDGEKD_HOME, else the platform's cache folder]"),
]
