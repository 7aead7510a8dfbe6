"""The gate itself: both models on this device in this job, limit by limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgekd import __version__
from edgekd.budget import at_most
from edgekd.deploy.subject import Subject, describe, find
from edgekd.engine.digest import digest_file
from edgekd.engine.events import Listener, Progress, Silent
from edgekd.errors import ConfigError
from edgekd.gate import contract, costs, judge, metrics, samples
from edgekd.gate.costs import BASE, CANDIDATE
from edgekd.gate.limits import Limits
from edgekd.gate.result import Check, Evaluation, GateResult, Name
from edgekd.hardware.measure.alone import observe_alone
from edgekd.hardware.measure.compare import Model, observe
from edgekd.hardware.measure.result import Alone, Comparison
from edgekd.hardware.profile import DeviceProfile, load_profile, this_cpu
from edgekd.hardware.runtime import Described
from edgekd.measuring import prepared
from edgekd.stats import smallest_drop_points


@dataclass(frozen=True)
class Side:
    subject: Subject
    described: Described


def check(
    candidate: str | Path,
    baseline: str | Path,
    *,
    data: Path | None = None,
    metric: str | None = None,
    limits: Limits | None = None,
    profile: DeviceProfile | str = "local-cpu",
    runtime: str | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    listener: Listener | None = None,
) -> GateResult:
    """
    Hold `candidate` against `baseline`: bundles, model files or saved baselines.

    Everything is measured here and now, in the same job: a stored latency would compare two days and not two
    models. Raises ConfigError or DataError for what cannot be compared, UnavailableError for what cannot run.
    """
    limits, listener = limits or Limits(), listener or Silent()
    profile = load_profile(profile) if isinstance(profile, str) else profile
    this_cpu(profile)
    old, new = (_side(Path(where), profile, runtime) for where in (baseline, candidate))
    contract.same_task(old.described, new.described, old.subject.signature, new.subject.signature)
    evaluation_set = samples.read(data) if data else None
    _same_evaluation(old.subject, evaluation_set)
    batch = profile.measure.batch
    models = {
        name: prepared(side.subject, side.described, _own(shapes or {}, side.described), None, batch)
        for name, side in ((BASE, old), (CANDIDATE, new))
    }
    told = decidable(limits, evaluation_set, profile)
    for sentence in told:
        listener.said(sentence)
    skipped: dict[Name, str] = {}
    checks = [_contract(old, new)]
    evaluation = None
    if evaluation_set is None:
        skipped["accuracy"] = "no evaluation set was given (--data)"
    elif limits.accuracy_drop_points is None:
        skipped["accuracy"] = "it has no limit"
    else:
        listener.said(f"accuracy: {len(evaluation_set)} samples")
        evaluation, accuracy = _accuracy(old, new, evaluation_set, metric, limits.accuracy_drop_points)
        checks.append(accuracy)
    comparison, alone = _observed(models, profile, limits, listener)
    checks += costs.of_measurements(limits, comparison, alone, skipped)
    checks += costs.of_coverage(old.subject, new.subject, limits, skipped)
    return GateResult(
        edgekd=__version__,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        candidate=str(candidate),
        baseline=str(baseline),
        checks=tuple(checks),
        skipped=skipped,
        decidable=tuple(told),
        evaluation=evaluation,
        comparison=comparison,
        baseline_runtime=old.subject.runtime.model_dump(mode="json"),
        candidate_runtime=new.subject.runtime.model_dump(mode="json"),
        notes=tuple(_notes(old, new, comparison)),
    )


def decidable(limits: Limits, evaluation: samples.Samples | None, profile: DeviceProfile) -> list[str]:
    """The smallest changes that these samples and processes can find, before anything is run."""
    found = []
    if evaluation is not None and limits.accuracy_drop_points is not None:
        n, margin = len(evaluation), limits.accuracy_drop_points
        by = {share: smallest_drop_points(margin, n, share) for share in (0.02, 0.05)}
        found.append(
            f"accuracy: {n} samples find a drop of {by[0.02]:.1f} points in 80 % of the cases where the models differ "
            f"on 2 % of them, of {by[0.05]:.1f} where on 5 % (limit {margin:g}); models that never differ pass a limit "
            f"of {300 / n:.2g} or more"
        )
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


def _own(shapes: Mapping[str, tuple[int, ...]], described: Described) -> dict[str, tuple[int, ...]]:
    """The shapes that this model has inputs for: the other may call them otherwise, which the contract tells."""
    names = {tensor.name for tensor in described.inputs}
    return {name: shape for name, shape in shapes.items() if name in names}


def _same_evaluation(baseline: Subject, evaluation: samples.Samples | None) -> None:
    then = baseline.evaluation
    if then and evaluation and then["sha256"] != evaluation.sha256:
        raise ConfigError(
            f"--data {evaluation.path}: another evaluation set than the baseline was saved with ({then['file']}, "
            f"{then['n']} samples, {then['sha256'][:12]}; this one is {evaluation.sha256[:12]}); give that one, or "
            "save the baseline again"
        )


def _contract(old: Side, new: Side) -> Check:
    found = contract.differences(old.described, new.described, old.subject.signature, new.subject.signature)
    if found:
        return Check(name="contract", state="fail", says="; ".join(found))
    known = old.subject.signature is not None and new.subject.signature is not None
    also = ", labels, layout and preprocessing" if known else "; labels and preprocessing stand in neither or in one"
    return Check(name="contract", state="pass", says=f"same names, shapes and types{also}")


def _accuracy(
    old: Side, new: Side, evaluation: samples.Samples, metric: str | None, limit: float
) -> tuple[Evaluation, Check]:
    before, now = (samples.answers(evaluation, side.subject, side.described) for side in (old, new))
    metric = metrics.suited(metric, evaluation.targets, before)
    found = metrics.judge(metric, before, now, evaluation.targets)
    verdict = at_most("accuracy_drop", limit, *found.drop)
    differ = f", {found.lost} lost, {found.won} won, McNemar p {found.mcnemar_p:.2g}" if found.lost is not None else ""
    says = f"{metric} {found.candidate:.4g}, baseline {found.baseline:.4g}, n {len(evaluation)}{differ}"
    told = Evaluation(
        file=evaluation.path.name,
        sha256=evaluation.sha256,
        n=len(evaluation),
        metric=metric,
        baseline=found.baseline,
        candidate=found.candidate,
        lost=found.lost,
        won=found.won,
        mcnemar_p=found.mcnemar_p,
    )
    return told, Check(name="accuracy", state=verdict.state, says=says, unit=found.unit, verdict=verdict)


def _observed(
    models: Mapping[str, Model], profile: DeviceProfile, limits: Limits, listener: Listener
) -> tuple[Comparison, dict[str, Alone]]:
    progress = Progress(listener)
    listener.started("latency", "baseline and candidate")
    comparison = observe(models, profile.measure, (BASE,), progress)
    if limits.memory_growth_percent is None and limits.peak_memory_mib is None:
        return comparison, {}
    listener.started("memory", "baseline and candidate")
    return comparison, {name: observe_alone(model, (), progress, seconds=0.0) for name, model in models.items()}


def _notes(old: Side, new: Side, comparison: Comparison) -> list[str]:
    found = [f"too noisy to rely on absolute latencies: {reason}" for reason in comparison.noise.reasons]
    if digest_file(old.subject.path) == digest_file(new.subject.path):
        found.append("candidate and baseline are the same file")
    before, now = (comparison.models[name].instructions for name in (BASE, CANDIDATE))
    if before and now and abs(now / before - 1) > 0.003:
        found.append(f"the executed code changed: {100 * (now / before - 1):+.1f} % instructions (that is not time)")
    if old.subject.runtime != new.subject.runtime:
        found.append("the two are run in other settings, each in those that it ships with")
    return found
