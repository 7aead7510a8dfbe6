"""What a script calls to measure: one model, or several against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekd.deploy.subject import Subject, describe, find
from edgekd.engine.events import Listener, Progress, Silent
from edgekd.errors import ConfigError
from edgekd.hardware.inputs import read_feeds, resolved
from edgekd.hardware.measure.alone import Load, observe_alone
from edgekd.hardware.measure.compare import Model, observe
from edgekd.hardware.measure.result import Comparison, Measured
from edgekd.hardware.profile import DeviceProfile, load_profile, this_cpu
from edgekd.hardware.runtime import Described, Tensor

Shapes = Mapping[str, tuple[int, ...]]


def measure(
    model: str | Path,
    profile: DeviceProfile | str = "local-cpu",
    *,
    runtime: str | None = None,
    shapes: Shapes | None = None,
    data: Path | None = None,
    batches: Sequence[int] = (),
    sessions: Sequence[int] = (),
    listener: Listener | None = None,
) -> Measured:
    """
    Measure a model file or bundle on this machine: latency, start, memory, throughput, energy, and the noise.

    `shapes` fixes free axes (the first one is the profile's batch unless it is named), `data` is .npz or .npy of real
    inputs; `batches` and `sessions` say what throughput is measured for. Raises ConfigError for what cannot be
    read or fed, UnavailableError where the runtime is missing or lacks an operator.
    """
    profile = load_profile(profile) if isinstance(profile, str) else profile
    this_cpu(profile)
    subject = find(Path(model), profile, runtime)
    described = describe(subject)
    batch = profile.measure.batch
    ready = prepared(subject, described, shapes or {}, data, batch)
    progress = Progress(listener or Silent())
    seen = observe({subject.where.name: ready}, profile.measure, (), progress)
    loads = [Load(n, 1, _inputs(subject, described, shapes or {}, n)) for n in batches]
    loads += [Load(batch, n, ready.inputs) for n in sessions]
    return Measured(
        model=str(model),
        runtime=subject.runtime.model_dump(mode="json") | dict(described.details),
        inputs=tuple(str(tensor) for tensor in ready.inputs.values()),
        comparison=seen,
        alone=observe_alone(ready, loads, progress),
    )


def compare(
    models: Mapping[str, str | Path],
    profile: DeviceProfile | str = "local-cpu",
    *,
    runtime: str | None = None,
    shapes: Shapes | None = None,
    data: Path | None = None,
    listener: Listener | None = None,
) -> Comparison:
    """
    Compare model files or bundles on this machine as one observation.

    The models run in the same fresh processes, in random order; every pair gets the ratio of its CPU times
    with a 95 % interval over processes, and `Comparison.verdict` says faster, slower, same or inconclusive.
    """
    if len(models) < 2:
        raise ConfigError(f"compare: {len(models)} models; two at least are needed")
    profile = load_profile(profile) if isinstance(profile, str) else profile
    this_cpu(profile)
    ready = {}
    for name, where in models.items():
        subject = find(Path(where), profile, runtime)
        ready[name] = prepared(subject, describe(subject), shapes or {}, data, profile.measure.batch)
    return observe(ready, profile.measure, tuple(models), Progress(listener or Silent()))


def prepared(subject: Subject, described: Described, shapes: Shapes, data: Path | None, batch: int) -> Model:
    """The model with inputs that fit it, from `data` where that is given."""
    if data is not None:
        read_feeds(data, subject.path.name, described)
        return Model(subject.path, subject.runtime, {}, data.resolve())
    return Model(subject.path, subject.runtime, resolved(subject.path.name, described, shapes, batch))


def _inputs(subject: Subject, described: Described, shapes: Shapes, batch: int) -> Mapping[str, Tensor]:
    return resolved(subject.path.name, described, {name: (batch, *rest) for name, (_, *rest) in shapes.items()}, batch)
