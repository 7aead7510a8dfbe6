"""A comparison that runs on a device: the models are sent there once, the record is the one of this machine."""

from __future__ import annotations

from collections.abc import Mapping

from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import UnavailableError
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.measure.compare import model_of, observe
from edgekd.hardware.measure.result import Comparison
from edgekd.hardware.profile import emulator
from edgekd.hardware.remote.address import parse_address
from edgekd.hardware.remote.device import RemoteDevice, remote_device
from edgekd.hardware.remote.farm import persistently
from edgekd.hardware.stages import CompareThere


def run(settings: CompareThere, inputs: Mapping[str, Artifact], work: Work) -> None:
    batch = settings.measuring.batch
    models = {name.removeprefix("model."): model_of(artifact, batch) for name, artifact in inputs.items()}
    packages = dict.fromkeys(package for model in models.values() for package in model.runtime.packages)

    def measured() -> Comparison:
        with remote_device(parse_address(settings.device), tuple(packages)) as there:
            check_same(there, settings.cpu, settings.versions)
            run_there = there.launch("worker")
            return observe(models, settings.measuring, settings.bases, work.progress, run_there, there.place)

    result = persistently(measured, work.progress.say)
    (work.out / "comparison.json").write_text(result.model_dump_json(indent=1, by_alias=True), "utf-8")


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
