"""`edgekd devices calibrate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from edgekd.cli.console import print_json
from edgekd.cli.options import WorkspaceOption
from edgekd.units import duration

if TYPE_CHECKING:
    from edgekd.cli.progress import Watcher
    from edgekd.hardware.accuracy import Accuracy
    from edgekd.hardware.latencies import Conditions, LatencyTable
    from edgekd.hardware.measure.process import Launch
    from edgekd.hardware.measure.result import Conditions as Held


CNNS = ("residual-cnn", "plain-cnn", "mobile-cnn")


def calibrate(
    device: Annotated[
        str,
        typer.Argument(
            help="A profile that `edgekd devices list` names, a .yaml, ssh://user@host:port, or a name in devices.yaml."
        ),
    ] = "local-cpu",
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", help="Of a device elsewhere: its profile; else what it is found to be."),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            help="residual-cnn, plain-cnn, mobile-cnn (all three without it), vit, or a .yaml; may be given again."
        ),
    ] = None,
    runtime: Annotated[str | None, typer.Option(help="onnxruntime, openvino or litert; else its first.")] = None,
    float_: Annotated[bool, typer.Option("--float", help="Nets in fp32, instead of int8.")] = False,
    nets: Annotated[int, typer.Option(min=50, help="Of all spaces together; drawn at random.")] = 200,
    image: Annotated[int, typer.Option(min=8, help="Height and width, in pixels.")] = 32,
    channels: Annotated[int, typer.Option(min=1, help="Of an image.")] = 3,
    classes: Annotated[int, typer.Option(min=2)] = 10,
    passes: Annotated[int, typer.Option(min=2, help="Processes that measure each net, minutes apart.")] = 3,
    seed: Annotated[int, typer.Option(help="Other nets with another one.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The table; else in the workspace, under latencies/.")] = None,
    workspace: WorkspaceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the error and what it is of as JSON.")] = False,
) -> None:
    """
    Measure nets of a space on this machine or on a DEVICE, so that the latency of others can be predicted.

    Says how long it will take before it starts. Interrupted, the same command goes on; other spaces, and more nets,
    are added to the table. In the end it says how far predictions are off, of nets that were held out.

    Examples:
      edgekd devices calibrate

      edgekd devices calibrate rpi5 --runtime litert --space mobile-cnn --nets 300 --image 96

      edgekd devices calibrate --space wide.yaml --float --out wide.json

      edgekd devices calibrate ssh://pi@raspberrypi.local --space mobile-cnn
    """
    from edgekd.cli.progress import Watcher
    from edgekd.engine.workspace import default_workspace
    from edgekd.hardware.latencies import opened
    from edgekd.hardware.remote.farm import persistently
    from edgekd.search.space import drawn
    from edgekd.search.spaces import read_space

    shapes = drawn([read_space(name) for name in space or CNNS], nets, seed)
    asked = Asked((channels, image, image), classes, runtime, quantised=not float_)

    def filled() -> tuple[Path, LatencyTable]:
        with measured_at(device, target, asked) as (where, run_process):
            path = out or (workspace or default_workspace()) / "latencies" / where.file_name
            return path, _filled(opened(path, where).planned(shapes), passes, path, run_process, watcher)

    with Watcher() as watcher:
        path, table = persistently(filled, watcher.said)
    from edgekd.hardware.accuracy import held_out

    _show(path, table, held_out(table), as_json=as_json)


def _filled(table: LatencyTable, passes: int, path: Path, run_process: Launch | None, watcher: Watcher) -> LatencyTable:
    """What is due of it is measured, and written to `path` on the way."""
    from edgekd.engine.events import Progress
    from edgekd.search.calibrate import InProcesses, calibrated, estimated_s  # after what may be wrong: it is slow

    watcher.started("calibrate", str(table.conditions))
    with TemporaryDirectory() as folder:
        least = InProcesses(table.conditions, Path(folder), run_process)
        watcher.said(f"{path}: {_left(table, passes)}, about {duration(estimated_s(table, passes, least))}; what is "
                     "measured is kept, the same command goes on")  # fmt: skip
        table = calibrated(table, passes, path, least, Progress(watcher))
    for sentence in conditions_of(least.seen):
        watcher.said(sentence)
    return table


def conditions_of(seen: Held | None) -> Iterator[str]:
    """What the device tells of its heat, its clock and what held it back."""
    if seen and str(seen):
        yield str(seen)
    if seen and seen.throttled:
        yield (
            f"the device was throttled while it measured ({seen.throttled}): what is in the table may be too long; "
            "cool it, or feed it better, and calibrate into another one (--out)"
        )


@dataclass(frozen=True)
class Asked:
    image: tuple[int, int, int]
    classes: int
    runtime: str | None
    quantised: bool


@contextmanager
def measured_at(device: str, target: str | None, asked: Asked) -> Iterator[tuple[Conditions, Launch | None]]:
    """
    What nets are measured under, and what runs them: None for processes of this machine.

    Raises UnavailableError for an emulator: searches believe what stands in a table.
    """
    from edgekd.errors import UnavailableError
    from edgekd.hardware.latencies import conditions
    from edgekd.hardware.profile import emulator, load_profile, refuse_emulator, this_cpu
    from edgekd.hardware.remote.address import parse_address
    from edgekd.hardware.remote.detect import detected
    from edgekd.hardware.remote.device import remote_device
    from edgekd.hardware.remote.farm import in_farm, reached

    if ":" not in device and not in_farm(device):
        if target:
            raise typer.BadParameter("goes with a device elsewhere alone", param_hint="--target")
        profile = load_profile(device)
        spec = profile.runtime(asked.runtime)
        yield conditions(this_cpu(profile), spec, asked.image, asked.classes, quantised=asked.quantised), None
        return
    found = reached(device)
    assert found.address is not None
    target = target or found.profile
    known = load_profile(target) if target else None
    if known:
        refuse_emulator(known)
    with remote_device(parse_address(found.address), ()) as there:
        if there.emulated:
            raise UnavailableError(emulator(found.address))
        spec = (known or detected(there).profile).runtime(asked.runtime or found.runtime)
        versions = there.needed(spec.packages)
        where = conditions(
            there.cpu, spec, asked.image, asked.classes, quantised=asked.quantised, versions=versions
        )  # fmt: skip
        yield where, there.launch("worker")


def _left(table: LatencyTable, passes: int) -> str:
    processes = len(list(table.due(passes)))
    return f"{sum(len(batch.nets) for batch in table.batches)} nets, {processes} processes to run"


def _show(path: Path, table: LatencyTable, found: Accuracy, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "table": str(path),
                "conditions": table.conditions.model_dump(mode="json"),
                "statistic": "least",
                "nets": len(table.latencies_ms()),
                "held_out": found.model_dump(mode="json"),
            }
        )
        return
    typer.echo(f"{path}\n{table.conditions}\nheld out: {found}")
    typer.echo("of least CPU times with warm caches: medians lie above them, so that finalists are to be measured")
