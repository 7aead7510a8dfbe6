"""`edgekd toolchain`."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekd.cli.console import print_json

app = typer.Typer(
    help="Packages that cannot live beside edgekd's own, each in an environment of its own.", no_args_is_help=True
)
Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="As `edgekd toolchain list` has it.", show_default=False)]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """
    What there is, what is installed, and what edgekd calls it for.

    Example:
      edgekd toolchain list
    """
    from edgekd.toolchains.catalogue import CATALOGUE
    from edgekd.toolchains.rooms import find

    rows = [(one, find(one)) for one in CATALOGUE.values()]
    if as_json:
        print_json([one.model_dump(mode="json") | {"installed": room.versions if room else None} for one, room in rows])
        return
    for one, room in rows:
        state = "installed" if room else f"not installed, about {one.disk_mib} MiB"
        typer.echo(f"{one.name:18} {state}: {one.purpose}{'' if one.called else ' (not called yet)'}; {one.licence}")


@app.command("install")
def install(name: Name) -> None:
    """
    Make its environment, below the workspace; needs a network.

    Exit code 6 where pip cannot.

    Example:
      edgekd toolchain install neural-compressor
    """
    from edgekd.toolchains import rooms

    room = rooms.install(name, lambda sentence: typer.echo(sentence, err=True))
    typer.echo(f"{name} is installed in {room.folder}")


@app.command("remove")
def remove(name: Name) -> None:
    """
    Delete its environment, of whatever version.

    Example:
      edgekd toolchain remove optimum
    """
    from edgekd.toolchains import rooms

    typer.echo(f"{name} is removed" if rooms.remove(name) else f"{name} was not installed")
