"""`edgekd devices`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli.calibrate import calibrate
from edgekd.cli.console import print_json
from edgekd.cli.options import DEVICES

if TYPE_CHECKING:
    from edgekd.hardware.detect import Detected

app = typer.Typer(help="Device profiles: what ships, what each says, what this machine is.", no_args_is_help=True)
app.command("calibrate")(calibrate)


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
        runtimes = ", ".join(runtime.name for runtime in row.runtimes)
        typer.echo(f"{row.name:18} {row.description:40} {row.connection:8} {runtimes}")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A shipped device's name, or a path ending in .yaml.")],
    as_json: Annotated[bool, typer.Option("--json", help="Every setting, and what was found on this machine.")] = False,
) -> None:
    """
    Print a device's profile, and what `auto` means where it is this machine.

    Example:
      edgekd devices show local-cpu
    """
    from edgekd import resources
    from edgekd.hardware.fingerprint import cpu
    from edgekd.hardware.profile import load_profile, mismatch

    profile = load_profile(name)
    local = profile.connection == "local" and profile.kind == "cpu"
    why = mismatch(profile.hardware, cpu()) if local else "hardware elsewhere"
    dialects = {runtime.name: runtime.dialect.on(cpu()) for runtime in profile.runtimes}
    if as_json:
        print_json(
            {
                "profile": profile.model_dump(mode="json", by_alias=True),
                "here": why is None,
                "why_not": why,
                "cpu": cpu().model_dump(mode="json"),
                "dialects": {name: dialect.model_dump(mode="json") for name, dialect in dialects.items()},
            }
        )
        return
    typer.echo(resources.read("hw_profiles", name), nl=False)
    if why is None:
        typer.echo(f"# here: {cpu().model}, {cpu().architecture}, {', '.join(cpu().isa) or 'no known extension'}")
        for runtime, dialect in dialects.items():
            typer.echo(f"# here: {runtime} quantises to {dialect}")
    else:
        typer.echo(f"# not this machine: {why}")


@app.command("detect")
def detect_(
    device: Annotated[
        str | None, typer.Argument(metavar="[DEVICE]", help=f"{DEVICES}; this machine without it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="Print a profile to keep, with what was found.")] = False,
) -> None:
    """
    Say what this machine, or a device, is: CPU, caches, memory, heat, runtimes, and which shipped profiles describe it.

    Examples:
      edgekd devices detect

      edgekd devices detect --yaml > gateway.yaml

      edgekd devices detect ssh://pi@raspberrypi.local --yaml > pi.yaml
    """
    from edgekd.hardware.detect import as_profile_yaml, detect
    from edgekd.hardware.remote.address import parse_address
    from edgekd.hardware.remote.detect import detect_there
    from edgekd.hardware.remote.farm import reached

    address = reached(device).address if device else None
    found = detect_there(parse_address(address)) if address else detect()
    if as_json:
        print_json(found.model_dump(mode="json", by_alias=True))
    elif as_yaml:
        typer.echo(as_profile_yaml(found), nl=False)
    else:
        _show(found)


def _show(found: Detected) -> None:
    rows: dict[str, Any] = {"board": found.board} | found.profile.hardware.model_dump(exclude_defaults=True)
    rows |= found.look.model_dump(exclude_none=True)
    for name, value in rows.items():
        if value is not None:
            typer.echo(f"{name:14} {', '.join(value) or 'no' if isinstance(value, tuple) else value}")
    for name, version in found.runtimes.items():
        mend = "" if found.profile.connection == "remote" else f": pip install edgekd[{name}]"
        typer.echo(f"{name:14} {version or f'not installed{mend}'}")
    typer.echo(f"{'profiles':14} {', '.join(found.fits)}")
