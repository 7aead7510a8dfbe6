"""What a device says of models that are sent there: a comparison, whose record is the one of here, and answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgekd.engine.events import Progress
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import UnavailableError
from edgekd.hardware.answering import Feeds
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.measure.compare import Model, model_of, observe
from edgekd.hardware.measure.result import Comparison
from edgekd.hardware.profile import Measuring, emulator
from edgekd.hardware.remote.address import parse_address
from edgekd.hardware.remote.device import RemoteDevice, remote_device
from edgekd.hardware.remote.farm import persistently
from edgekd.hardware.specs import Runnable
from edgekd.hardware.stages import CompareThere, There


def run(settings: CompareThere, inputs: Mapping[str, Artifact], work: Work) -> None:
    batch = settings.measuring.batch
    models = {name.removeprefix("model."): model_of(artifact, batch) for name, artifact in inputs.items()}
    result = observed(models, settings.measuring, settings.bases, work.progress, settings.cpu, settings.there)
    (work.out / "comparison.json").write_text(result.model_dump_json(indent=1, by_alias=True), "utf-8")


def observed(
    models: Mapping[str, Model],
    measuring: Measuring,
    bases: Sequence[str],
    progress: Progress,
    cpu: Cpu,
    there: There | None,
) -> Comparison:
    """
    What `observe` says, here or of a device that is the `cpu` and has the versions it had before; tried again where it
    dies.

    Raises UnavailableError.
    """
    if there is None:
        return observe(models, measuring, bases, progress)
    packages = dict.fromkeys(package for model in models.values() for package in model.runtime.packages)

    def measured() -> Comparison:
        with same_device(there, cpu, tuple(packages)) as device:
            return observe(models, measuring, bases, progress, device.launch("worker"), device.place)

    return persistently(measured, progress.say)


def answered(
    model: Path,
    runtime: Runnable,
    feeds: Feeds,
    progress: Progress,
    cpu: Cpu,
    there: There,
) -> NDArray[Any]:
    """The first output [N, ...] of the device that was there before; tried again where it dies."""

    def found() -> NDArray[Any]:
        with same_device(there, cpu, runtime.packages) as device:
            return device.answers(model, runtime, feeds)

    return persistently(found, progress.say)


@contextmanager
def same_device(there: There, cpu: Cpu, packages: Sequence[str]) -> Iterator[RemoteDevice]:
    with remote_device(parse_address(there.address), packages) as device:
        check_same(device, cpu, there.versions)
        yield device


def check_same(there: RemoteDevice, wanted: Cpu, versions: Mapping[str, str]) -> None:
    """
    Raises UnavailableError where another device, or another runtime on it, answers than when the build began, or an
    emulator.
    """
    if there.emulated:
        raise UnavailableError(emulator(str(there.connection.address)))
    if there.place.cpu != wanted:
        raise UnavailableError(
            f"{there.connection.address}: is {there.place.cpu.model} now, and was {wanted.model} when this began"
        )
    for package, then in versions.items():
        if (now := there.about.packages.get(package, then)) != then:
            raise UnavailableError(
                f"{there.connection.address}: {package} is {now} now, and was {then} when this began"
            )
