"""`edgekd devices`."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekd.cli.console import print_json

app = typer.Typer(help="The device profiles that ship with edgekd.", no_args_is_help=True)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """
    Name each device with its runtimes.

    Example:
      edgekd devices list
    """
    from edgekd import resources
    from edgekd.hardware.profile import load_profile

    rows = [load_profile(name) for name in resources.shipped("hw_profiles")]
    if as_json:
        print_json(
            [{"name": r.name, "description": r.description, "runtimes": [t.name for t in r.runtimes]} for r in rows]
        )
        return
    for row in rows:
        typer.echo(f"{row.name:16} {row.description:48} {', '.join(runtime.name for runtime in row.runtimes)}")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A shipped device's name, or a path ending in .yaml.")],
    as_json: Annotated[bool, typer.Option("--json", help="Every setting, and what was found on this machine.")] = False,
) -> None:
    """
    Print a device's profile, and for a local CPU what `auto` means on this machine.

    Example:
      edgekd devices show local-cpu
    """
    from edgekd import resources
    from edgekd.hardware.profile import load_profile, this_cpu

    profile = load_profile(name)
    device = this_cpu(profile)
    dialects = {runtime.name: runtime.dialect.on(device) for runtime in profile.runtimes}
    if as_json:
        print_json(
            {
                "profile": profile.model_dump(mode="json", by_alias=True),
                "cpu": device.model_dump(mode="json"),
                "dialects": {name: dialect.model_dump(mode="json") for name, dialect in dialects.items()},
            }
        )
        return
    typer.echo(resources.read("hw_profiles", name), nl=False)
    typer.echo(f"# here: {device.model}, {device.architecture}, {', '.join(device.isa) or 'no known extension'}")
    for runtime, dialect in dialects.items():
        typer.echo(f"# here: {runtime} quantises to {dialect}")
