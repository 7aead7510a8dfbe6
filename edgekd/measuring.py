"""What a script calls to measure: one model, or several against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekd.deploy.subject import Subject, describe, find
from edgekd.engine.events import Listener, Progress, Silent
from edgekd.errors import ConfigError
from edgekd.hardware.inputs import Shapes, batch_of, read_feeds, resolved
from edgekd.hardware.measure.alone import Load, observe_alone
from edgekd.hardware.measure.compare import Model, observe
from edgekd.hardware.measure.result import Comparison, Measured
from edgekd.hardware.profile import DeviceProfile, load_profile, this_cpu
from edgekd.hardware.remote.address import parse_address
from edgekd.hardware.remote.device import remote_device
from edgekd.hardware.runtime import Described, Tensor


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
    address = parse_address(device) if device else None
    if address is None:
        this_cpu(profile)
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
    if address is None:
        seen, alone = observe(models, profile.measure, (), progress), observe_alone(ready, loads, progress)
    else:
        with remote_device(address, subject.runtime.packages) as there:
            told["version"] = there.about.packages[subject.runtime.packages[0]]
            seen = observe(models, profile.measure, (), progress, there.launch("worker"), there.place)
            alone = observe_alone(ready, loads, progress, run_process=there.launch("alone_worker"))
    inputs = tuple(str(tensor) for tensor in ready.inputs.values())
    return Measured(model=str(model), runtime=told, inputs=inputs, comparison=seen, alone=alone)


def compare(
    models: Mapping[str, str | Path],
    profile: DeviceProfile | str = "local-cpu",
    *,
    runtime: str | None = None,
    shapes: Shapes | None = None,
    data: str | Path | None = None,
    listener: Listener | None = None,
) -> Comparison:
    """
    Compare model files or bundles on this machine as one observation.

    The models run in the same fresh processes, in random order; every pair gets the ratio of its CPU times (wall
    times where a runtime has more threads) with a 95 % interval over processes. `Comparison.verdict` says faster,
    slower, same or inconclusive.
    """
    if len(models) < 2:
        raise ConfigError(f"compare: {len(models)} models; two at least are needed")
    profile = load_profile(profile) if isinstance(profile, str) else profile
    this_cpu(profile)
    ready = {}
    for name, where in models.items():
        subject = find(Path(where), profile, runtime)
        ready[name] = prepared(subject, describe(subject), shapes or {}, _path(data), _batch(profile, shapes))
    return observe(ready, profile.measure, tuple(models), Progress(listener or Silent()))


def prepared(subject: Subject, described: Described, shapes: Shapes, data: Path | None, batch: int | None) -> Model:
    """The model with inputs that fit it: those of `data` where that is given."""
    name = subject.path.name
    if data is not None:
        arrays = read_feeds(data, name, described)
        inputs = {t.name: Tensor(t.name, t.dtype, arrays[t.name].shape) for t in described.inputs}
    else:
        inputs = resolved(name, described, shapes, batch)
    size = batch_of(name, described, inputs)
    return Model(subject.path, subject.runtime, inputs, data.resolve() if data else None, size)


def _path(data: str | Path | None) -> Path | None:
    return None if data is None else Path(data)


def _batch(profile: DeviceProfile, shapes: Shapes | None) -> int | None:
    """The profile's, unless the person said whole shapes."""
    return None if shapes else profile.measure.batch


def _load(subject: Subject, described: Described, shapes: Shapes, wanted: int) -> Load:
    ready = prepared(subject, described, shapes, None, wanted)
    batch_of(subject.path.name, described, ready.inputs, wanted)
    return Load(ready, wanted, 1)
