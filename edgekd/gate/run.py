"""The gate itself: both models on this device in this job, limit by limit."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

from edgekd import __version__
from edgekd.budget import worst
from edgekd.deploy.subject import describe, digests, find
from edgekd.engine.events import Listener, Progress, Silent
from edgekd.errors import ConfigError, UnavailableError
from edgekd.gate import answers, contract, costs, judge, metrics, samples
from edgekd.gate.answers import Side
from edgekd.gate.costs import BASE, CANDIDATE
from edgekd.gate.limits import Limits
from edgekd.gate.result import Check, Evaluation, GateResult, Name
from edgekd.hardware.inputs import Shapes
from edgekd.hardware.measure.alone import observe_alone
from edgekd.hardware.measure.compare import Model, observe
from edgekd.hardware.measure.result import Comparison
from edgekd.hardware.profile import DeviceProfile, cpu_beside, emulator, load_profile, refuse_emulator
from edgekd.hardware.remote.address import parse_address
from edgekd.hardware.remote.device import RemoteDevice, remote_device
from edgekd.hardware.remote.farm import persistently
from edgekd.hardware.runtime import Tensor
from edgekd.measuring import prepared
from edgekd.stats import smallest_drop_points


def check(
    candidate: str | Path,
    baseline: str | Path,
    *,
    data: str | Path | None = None,
    metric: str | None = None,
    limits: Limits | None = None,
    profile: DeviceProfile | str = "local-cpu",
    runtime: str | None = None,
    shapes: Shapes | None = None,
    device: str | None = None,
    listener: Listener | None = None,
) -> GateResult:
    """
    Hold `candidate` against `baseline`: bundles, model files or saved baselines; on this machine, or on `device`
    (ssh://user@host:port), which then answers too.

    Everything is measured here and now, in the same job: a stored latency would compare two days and not two
    models. Raises ConfigError or DataError for what cannot be compared, UnavailableError for what cannot run.
    """
    limits, listener = limits or Limits(), listener or Silent()
    profile = load_profile(profile) if isinstance(profile, str) else profile
    address = parse_address(device) if device else None
    if address is None:
        cpu_beside(profile)
    old, new = (_side(Path(where), profile, runtime) for where in (baseline, candidate))
    contract.same_task(old.described, new.described, old.subject.signature, new.subject.signature)
    evaluated = samples.read(Path(data)) if data else None
    metric = metrics.suited(metric, evaluated.classes) if evaluated else None
    answers.same_evaluation(old.subject, evaluated)
    told = decidable(limits, evaluated, metric, profile)
    for sentence in told:
        listener.said(sentence)
    skipped: dict[Name, str] = {}
    agreed = answers.of_contract(old, new)
    models = _models(old, new, limits, shapes or {}, evaluated, profile)
    if models:
        refuse_emulator(profile)
    packages = tuple(dict.fromkeys((*old.subject.runtime.packages, *new.subject.runtime.packages)))

    def run() -> tuple[Evaluation | None, Comparison | None, list[Check]]:
        with remote_device(address, packages) if address else nullcontext() as there:
            if models and there and there.emulated:
                raise UnavailableError(emulator(str(address)))
            evaluation, accuracy = _accuracy(old, new, evaluated, metric, limits, agreed, skipped, there)
            comparison, measured = _measured(models, profile, limits, listener, skipped, there)
            return evaluation, comparison, [*accuracy, *measured]

    evaluation, comparison, found = persistently(run, listener.said)
    checks = [agreed, *found]
    checks += costs.of_size(limits, old.subject, new.subject, skipped)
    checks += costs.of_coverage(limits, old.subject, new.subject, skipped)
    return GateResult(
        edgekd=__version__,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        candidate=str(candidate),
        baseline=str(baseline),
        state=worst(checks),
        checks=tuple(checks),
        skipped=skipped,
        decidable=tuple(told),
        evaluation=evaluation,
        comparison=comparison,
        baseline_runtime=old.subject.runtime.model_dump(mode="json"),
        candidate_runtime=new.subject.runtime.model_dump(mode="json"),
        notes=tuple(_notes(old, new, comparison)),
    )


def decidable(
    limits: Limits, evaluated: samples.Samples | None, metric: str | None, profile: DeviceProfile
) -> list[str]:
    """The smallest changes that these samples and processes can find, before anything is run."""
    found = []
    if evaluated is not None and limits.accuracy_drop_points is not None:
        n, margin = len(evaluated), limits.accuracy_drop_points
        if metric == "accuracy":
            by = {share: smallest_drop_points(margin, n, share) for share in (0.02, 0.05)}
            found.append(
                f"accuracy: {n} samples find a drop of {by[0.02]:.1f} points in 80 % of the cases where the models "
                f"differ on 2 % of them, of {by[0.05]:.1f} where on 5 % (limit {margin:g}); models that never differ "
                f"pass a limit of {300 / n:.2g} or more"
            )
        else:
            found.append(f"{metric}: {n} samples; how small a drop they find, their own spread decides (bootstrap)")
    if limits.latency_regression_percent is not None:
        processes = profile.measure.processes
        smallest = judge.smallest_regression_percent(limits.latency_regression_percent, processes)
        found.append(
            f"latency: {processes} processes find a regression of {smallest:.1f} % in 80 % of the cases "
            f"(limit {limits.latency_regression_percent:g} %), where their ratios differ by "
            f"{judge.USUAL_SPREAD_PERCENT:g} % as is usual"
        )
    return found


def _side(where: Path, profile: DeviceProfile, runtime: str | None) -> Side:
    subject = find(where, profile, runtime)
    return Side(subject, describe(subject))


def _models(
    old: Side, new: Side, limits: Limits, shapes: Shapes, evaluated: samples.Samples | None, profile: DeviceProfile
) -> dict[str, Model]:
    """Both ready to be measured, where anything is; free axes as they were said to be, or as in the data."""
    timed = (limits.latency_regression_percent, limits.latency_p50_ms)
    if all(limit is None for limit in (*timed, limits.memory_growth_percent, limits.peak_memory_mib)):
        return {}
    known = {tensor.name for side in (old, new) for tensor in side.described.inputs}
    if strange := sorted(set(shapes) - known):
        raise ConfigError(
            f"--shape {strange[0]}: neither model has such an input; they have {', '.join(sorted(known))}"
        )
    arrays = evaluated.arrays if evaluated else {}
    lengths = {name: (1, *array.shape[1:]) for name, array in arrays.items()} | dict(shapes)
    batch = None if shapes else profile.measure.batch

    def ready(side: Side) -> Model:
        own = {t.name: lengths[t.name] for t in side.described.inputs if t.name in (lengths if _free(t) else shapes)}
        return prepared(side.subject, side.described, own, None, batch)

    return {BASE: ready(old), CANDIDATE: ready(new)}


def _free(tensor: Tensor) -> bool:
    return any(isinstance(axis, str) for axis in tensor.shape)


def _accuracy(
    old: Side,
    new: Side,
    evaluated: samples.Samples | None,
    metric: str | None,
    limits: Limits,
    agreed: Check,
    skipped: dict[Name, str],
    there: RemoteDevice | None,
) -> tuple[Evaluation | None, list[Check]]:
    if evaluated is None or metric is None or limits.accuracy_drop_points is None:
        skipped["accuracy"] = "no evaluation set was given (--data)" if evaluated is None else costs.NO_LIMIT
        return None, []
    return answers.of_accuracy(old, new, evaluated, metric, limits.accuracy_drop_points, agreed, skipped, there)


def _measured(
    models: Mapping[str, Model],
    profile: DeviceProfile,
    limits: Limits,
    listener: Listener,
    skipped: dict[Name, str],
    there: RemoteDevice | None,
) -> tuple[Comparison | None, list[Check]]:
    """Only what has a limit is measured."""
    progress, comparison, found = Progress(listener), None, []
    if limits.latency_regression_percent is None:
        skipped["latency"] = costs.NO_LIMIT
    if limits.latency_regression_percent is not None or limits.latency_p50_ms is not None:
        listener.started("latency", "baseline and candidate")
        launch, place = (there.launch("worker"), there.place) if there else (None, None)
        comparison = observe(models, profile.measure, (BASE,), progress, launch, place)
        found += costs.of_latency(limits, comparison)
    if limits.memory_growth_percent is None and limits.peak_memory_mib is None:
        skipped["memory_growth"] = costs.NO_LIMIT
    else:
        listener.started("memory", "baseline and candidate")
        run = there.launch("alone_worker") if there else None
        alone = {
            name: observe_alone(model, (), progress, seconds=0.0, run_process=run) for name, model in models.items()
        }
        found += costs.of_memory(limits, alone, skipped)
    return comparison, found


def _notes(old: Side, new: Side, comparison: Comparison | None) -> list[str]:
    found = []
    if comparison is not None:
        found += [f"too noisy to rely on absolute latencies: {reason}" for reason in comparison.noise.reasons]
        before, now = (comparison.models[name].instructions for name in (BASE, CANDIDATE))
        if before and now and abs(now / before - 1) > judge.SAME_CODE:
            found.append(
                f"the executed code changed: {100 * (now / before - 1):+.1f} % instructions, which is not time"
            )
    before_files, now_files = (sorted(digests(s.path, s.path.parent).values()) for s in (old.subject, new.subject))
    if before_files == now_files:
        found.append("candidate and baseline are the same file")
    if old.subject.runtime != new.subject.runtime:
        found.append("the two are run in other settings, each in those that it ships with")
    return found
