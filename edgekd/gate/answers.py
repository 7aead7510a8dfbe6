"""What an application gets from a model against what it got before: the contract, and accuracy sample by sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.budget import at_most
from edgekd.deploy.subject import Subject
from edgekd.errors import ConfigError, DataError
from edgekd.gate import contract, metrics, samples
from edgekd.gate.result import Check, Evaluation, Name
from edgekd.hardware.remote.device import RemoteDevice
from edgekd.hardware.runtime import Described


@dataclass(frozen=True)
class Side:
    """One of the two models, and what it takes and gives in its runtime."""

    subject: Subject
    described: Described


def of_contract(old: Side, new: Side) -> Check:
    found = contract.differences(old.described, new.described, old.subject.signature, new.subject.signature)
    if found:
        return Check(name="contract", state="fail", says="; ".join(found))
    known = old.subject.signature is not None and new.subject.signature is not None
    also = ", labels, layout and preprocessing" if known else "; labels and preprocessing are not known of both"
    return Check(name="contract", state="pass", says=f"same names, shapes and types{also}")


def of_accuracy(
    old: Side,
    new: Side,
    evaluated: samples.Samples,
    metric: str,
    limit: float,
    agreed: Check,
    skipped: dict[Name, str],
    there: RemoteDevice | None = None,
) -> tuple[Evaluation | None, list[Check]]:
    """
    Nothing where the candidate, having broken the contract (`agreed`), can no longer be fed or judged.

    A candidate that answers NaN or infinity fails, whatever the metric; a baseline that does is none.
    """
    before = samples.answers(evaluated, old.subject, old.described, there)
    if missing := _not_finite(before):
        count = f"{missing} of {len(before)} samples"
        raise ConfigError(f"--baseline {old.subject.where}: answers NaN or infinity for {count}; it is no baseline")
    try:
        now = samples.answers(evaluated, new.subject, new.described, there)
        if missing := _not_finite(now):
            says = f"the candidate answers NaN or infinity for {missing} of {len(now)} samples"
            return None, [Check(name="accuracy", state="fail", says=says)]
        found = metrics.judge(metric, before, now, evaluated.targets)
    except (ConfigError, DataError) as error:
        if agreed.state == "pass":
            raise
        skipped["accuracy"] = f"the contract is broken: {error}"
        return None, []
    return _told(evaluated, metric, found), [_check(evaluated, metric, found, limit)]


def same_evaluation(baseline: Subject, evaluated: samples.Samples | None) -> None:
    """Raises ConfigError where a saved baseline was judged on other samples than it would be now."""
    then = baseline.evaluation
    if then and evaluated and then.sha256 != evaluated.sha256:
        raise ConfigError(
            f"--data {evaluated.path}: another evaluation set than the baseline was saved with ({then.file}, {then.n} "
            f"samples, {then.sha256[:12]}; this one is {evaluated.sha256[:12]}); give that, or save another baseline"
        )


def _check(evaluated: samples.Samples, metric: str, found: metrics.Judged, limit: float) -> Check:
    verdict = at_most("accuracy_drop", limit, *found.drop)
    differ = f", {found.lost} lost, {found.won} won, McNemar p {found.mcnemar_p:.2g}" if found.lost is not None else ""
    says = f"{metric} {found.candidate:.4g}, baseline {found.baseline:.4g}, n {len(evaluated)}{differ}"
    return Check(name="accuracy", state=verdict.state, says=says, unit=found.unit, verdict=verdict)


def _told(evaluated: samples.Samples, metric: str, found: metrics.Judged) -> Evaluation:
    return Evaluation(
        file=evaluated.path.name,
        sha256=evaluated.sha256,
        n=len(evaluated),
        metric=metric,
        baseline=found.baseline,
        candidate=found.candidate,
        lost=found.lost,
        won=found.won,
        mcnemar_p=found.mcnemar_p,
    )


def _not_finite(outputs: NDArray[np.generic]) -> int:
    """How many samples [N, ...] have an answer that is no number."""
    return int((~np.isfinite(outputs)).reshape(len(outputs), -1).any(1).sum())
