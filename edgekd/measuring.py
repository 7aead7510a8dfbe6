"""What a script calls to measure: one model, or several against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from edgekd.deploy.subject import Subject, describe, find
from edgekd.engine.events import Listener, Progress, Silent
from edgekd.errors import ConfigError
from edgekd.hardware.inputs import Shapes, batch_of, read_feeds, resolved
from edgekd.hardware.measure.alone import Load, observe_alone
from edgekd.hardware.measure.compare import Model, Place, here, observe
from edgekd.hardware.measure.result import Alone, Comparison, Measured
from edgekd.hardware.profile import DeviceProfile, cpu_beside, load_profile
from edgekd.hardware.remote.address import AnyAddress, parse_address
from edgekd.hardware.remote.by_tool import ByTool, by_tool
from edgekd.hardware.remote.connection import connect
from edgekd.hardware.remote.device import RemoteDevice, remote_device
from edgekd.hardware.remote.farm import persistently
from edgekd.hardware.runtime import Described, Tensor
from edgekd.hardware.specs import plain_onnxruntime

T = TypeVar("T")


def measure(
    model: str | Path,
    profile: DeviceProfile | str = "local-cpu",
    *,
    runtime: str | None = None,
    shapes: Shapes | None = None,
    data: str | Path | None = None,
    batches: Sequence[int] = (),
    sessions: Sequence[int] = (),
    device: str | None = None,
    listener: Listener | None = None,
) -> Measured:
    """
    Measure a model file or bundle on this machine, or on `device` (ssh://user@host:port).

    What is measured: latency, start, memory, throughput, energy, and the noise.

    `shapes` fixes free axes (the first one is the profile's batch unless it is named), `data` is .npz or .npy of real
    inputs; `batches` and `sessions` say what throughput is measured for. Raises ConfigError or DataError for what
    cannot be read or fed, UnavailableError where the runtime is missing or lacks an operator.
    """
    profile = load_profile(profile) if isinstance(profile, str) else profile
    address = _address(device, profile)
    subject = find(Path(model), profile, runtime)
    described = describe(subject)
    if data is not None and batches:
        raise ConfigError("--batch: inputs from --data have a batch of their own; leave one of the two out")
    ready = prepared(subject, described, shapes or {}, _path(data), _batch(profile, shapes))
    progress = Progress(listener or Silent())
    loads = [_load(subject, described, shapes or {}, wanted) for wanted in batches]
    loads += [Load(ready, ready.batch, wanted) for wanted in sessions]
    told = subject.runtime.model_dump(mode="json") | dict(described.details)
    models = {subject.where.name: ready}

    def observed(there: RemoteDevice | None) -> tuple[Comparison, Alone]:
        if there:
            told["version"] = there.about.packages[subject.runtime.packages[0]]
        launch, launch_alone = (there.launch("worker"), there.launch("alone_worker")) if there else (None, None)
        seen = observe(models, profile.measure, (), progress, launch, _place(there, profile))
        return seen, observe_alone(ready, loads, progress, run_process=launch_alone)

    seen, alone = _on(address, subject.runtime.packages, observed, progress)
    inputs = tuple(str(tensor) for tensor in ready.inputs.values())
    return Measured(model=str(model), runtime=told, inputs=inputs, comparison=seen, alone=alone)


def measure_by_tool(
    model: str | Path,
    profile: DeviceProfile | str = "local-cpu",
    *,
    device: str,
    runtime: str | None = None,
    shapes: Shapes | None = None,
    listener: Listener | None = None,
) -> ByTool:
    """
    Time a model file or bundle on `device` (ssh://user@host:port or adb:serial) by the tool of its runtime: for
    devices without Python, and for TensorRT, whose engines are built where they run.

    Raises UnavailableError where the tool is not there, fails, or prints what cannot be read.
    """
    profile = load_profile(profile) if isinstance(profile, str) else profile
    address, compiled = parse_address(device), profile.compiler
    opener = profile.model_copy(update={"runtimes": (plain_onnxruntime(),)}) if compiled else profile
    subject = find(Path(model), opener, runtime)
    ready = prepared(subject, describe(subject), shapes or {}, None, _batch(profile, shapes))
    progress = Progress(listener or Silent())

    def run() -> ByTool:
        with connect(address) as there:
            return by_tool(there, subject.path, compiled or subject.runtime, ready.inputs, profile, progress)

    return persistently(run, progress.say)


def compare(
    models: Mapping[str, str | Path],
    profile: DeviceProfile | str = "local-cpu",
    *,
    runtime: str | None = None,
    shapes: Shapes | None = None,
    data: str | Path | None = None,
    device: str | None = None,
    listener: Listener | None = None,
) -> Comparison:
    """
    Compare model files or bundles on this machine, or on `device` (ssh://user@host:port), as one observation.

    The models run in the same fresh processes, in random order; every pair gets the ratio of its CPU times (wall
    times where a runtime has more threads) with a 95 % interval over processes. `Comparison.verdict` says faster,
    slower, same or inconclusive.
    """
    if len(models) < 2:
        raise ConfigError(f"compare: {len(models)} models; two at least are needed")
    profile = load_profile(profile) if isinstance(profile, str) else profile
    address, settings = _address(device, profile), profile.measure
    ready = {}
    for name, where in models.items():
        subject = find(Path(where), profile, runtime)
        ready[name] = prepared(subject, describe(subject), shapes or {}, _path(data), _batch(profile, shapes))
    progress = Progress(listener or Silent())

    def observed(there: RemoteDevice | None) -> Comparison:
        launch = there.launch("worker") if there else None
        return observe(ready, settings, tuple(models), progress, launch, _place(there, profile))

    packages = dict.fromkeys(package for model in ready.values() for package in model.runtime.packages)
    return _on(address, tuple(packages), observed, progress)


def _address(device: str | None, profile: DeviceProfile) -> AnyAddress | None:
    """Raises UnavailableError where the profile's device is neither here nor said to be elsewhere."""
    if device:
        return parse_address(device)
    cpu_beside(profile)
    return None


def _on(
    address: AnyAddress | None, packages: tuple[str, ...], job: Callable[[RemoteDevice | None], T], progress: Progress
) -> T:
    """The job on the device, again where that is lost; here without an address."""

    def run() -> T:
        with remote_device(address, packages) if address else nullcontext() as there:
            return job(there)

    return persistently(run, progress.say)


def _place(there: RemoteDevice | None, profile: DeviceProfile) -> Place:
    place = there.place if there else here()
    return replace(place, kind="emulated") if profile.emulated else place


def prepared(subject: Subject, described: Described, shapes: Shapes, data: Path | None, batch: int | None) -> Model:
    """The model with inputs that fit it: those of `data` where that is given."""
    name = subject.path.name
    if data is not None:
        arrays = read_feeds(data, name, described)
        inputs = {t.name: Tensor(t.name, t.dtype, arrays[t.name].shape) for t in described.inputs}
    else:
        inputs = resolved(name, described, {**examples(subject), **shapes}, batch)
    size = batch_of(name, described, inputs)
    return Model(subject.path, subject.runtime, inputs, data.resolve() if data else None, size)


def examples(subject: Subject) -> Shapes:
    """Of inputs whose free axes edgekd measured at some length: the same one, where nothing else is said."""
    known = subject.signature.inputs if subject.signature else ()
    return {spec.name: (1, *spec.example) for spec in known if spec.example is not None}


def _path(data: str | Path | None) -> Path | None:
    return None if data is None else Path(data)


def _batch(profile: DeviceProfile, shapes: Shapes | None) -> int | None:
    """The profile's, unless the person said whole shapes."""
    return None if shapes else profile.measure.batch


def _load(subject: Subject, described: Described, shapes: Shapes, wanted: int) -> Load:
    ready = prepared(subject, described, shapes, None, wanted)
    batch_of(subject.path.name, described, ready.inputs, wanted)
    return Load(ready, wanted, 1)
