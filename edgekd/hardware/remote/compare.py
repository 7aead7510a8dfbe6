"""A comparison that runs on a device: the models are sent there once, the record is the one of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekd.engine.events import Progress
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import UnavailableError
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.measure.compare import Model, model_of, observe
from edgekd.hardware.measure.result import Comparison
from edgekd.hardware.profile import Measuring, emulator
from edgekd.hardware.remote.address import parse_address
from edgekd.hardware.remote.device import RemoteDevice, remote_device
from edgekd.hardware.remote.farm import persistently
from edgekd.hardware.stages import CompareThere


def run(settings: CompareThere, inputs: Mapping[str, Artifact], work: Work) -> None:
    batch = settings.measuring.batch
    models = {name.removeprefix("model."): model_of(artifact, batch) for name, artifact in inputs.items()}
    result = observe_there(
        settings.device, settings.cpu, settings.versions, models, settings.measuring, settings.bases, work.progress
    )
    (work.out / "comparison.json").write_text(result.model_dump_json(indent=1, by_alias=True), "utf-8")


def observe_there(
    device: str,
    cpu: Cpu,
    versions: Mapping[str, str],
    models: Mapping[str, Model],
    measuring: Measuring,
    bases: Sequence[str],
    progress: Progress,
) -> Comparison:
    """
    What `observe` says, of a device that is the `cpu` and has the `versions` it had before; tried again where it dies.

    Raises UnavailableError.
    """
    packages = dict.fromkeys(package for model in models.values() for package in model.runtime.packages)

    def measured() -> Comparison:
        with remote_device(parse_address(device), tuple(packages)) as there:
            check_same(there, cpu, versions)
            return observe(models, measuring, bases, progress, there.launch("worker"), there.place)

    return persistently(measured, progress.say)


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
