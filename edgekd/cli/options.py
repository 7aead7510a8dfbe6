"""Arguments and options as types: what each is called and what --help says of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgekd.hardware.profile import DeviceProfile
    from edgekd.hardware.remote.farm import Reached

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
Samples = Annotated[
    int, typer.Option(min=0, help="Put N images or texts of the test split into the bundle; none unless asked.")
]
ReportsAsJson = Annotated[bool, typer.Option("--json", help="Print the reports as JSON on stdout.")]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Run the .py files that the pipeline names: read them first.")
]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="-v: cached stages; -vv: tracebacks.")]
TensorBoard = Annotated[
    Path | None, typer.Option(help="Write loss, val and speed there for TensorBoard, as training goes on.")
]
DEVICES = "local, ssh://user@host:port, adb:serial, or a name in devices.yaml ($EDGEKD_DEVICES)"
OnDevice = Annotated[str | None, typer.Option("--device", help=f"Measure there, and ask answers: {DEVICES}.")]
Target = Annotated[str, typer.Option("--target", "-t", help="A device that `edgekd devices list` names, or a .yaml.")]
ANY_CPU = "local-cpu"  # the default of --target
Runtime = Annotated[
    str | None, typer.Option(help="onnxruntime, openvino or litert; else the first that opens the file.")
]
ShapeOption = Annotated[
    list[str] | None, typer.Option("--shape", metavar="INPUT=1,3,32,32", help="Of an input; may be given again.")
]


def profile_at(place: Reached, target: str, runtime: str | None) -> DeviceProfile:
    """The farm's where --target is left out; with the farm's runtime alone where --runtime is."""
    from edgekd.hardware.profile import load_profile, with_runtime

    profile = load_profile(place.profile if place.profile and target == ANY_CPU else target)
    return with_runtime(profile, None if runtime else place.runtime)


def parse_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """`input=1,3,32,32` to the shape by the input's name, which may itself hold an equals sign."""
    found = {}
    for text in texts or ():
        name, _, axes = text.rpartition("=")
        if not name or not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", axes):
            raise typer.BadParameter(f"{text!r}: write it like input=1,3,32,32", param_hint="--shape")
        found[name] = tuple(int(axis) for axis in axes.split(","))
    return found


def parse_numbers(text: str | None, what: str) -> tuple[float, ...]:
    """`0.485,0.456,0.406` to numbers."""
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise typer.BadParameter(f"{text!r}: write numbers like 0.485,0.456,0.406", param_hint=what) from None


def parse_limit(text: str, what: str) -> float | None:
    """`3%`, `3` or `0.5` to a number, `none` to None."""
    if text == "none":
        return None
    if not re.fullmatch(r"\d+(\.\d+)?%?", text):
        raise typer.BadParameter(f"{text!r}: write it like 3% or 0.5, or none", param_hint=what)
    return float(text.removesuffix("%"))
