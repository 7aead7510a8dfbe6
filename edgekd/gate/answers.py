"""What an application gets from a model against what it got before: the contract, and accuracy sample by sample."""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.budget import at_most
from edgekd.deploy.subject import Subject
from edgekd.errors import ConfigError
from edgekd.gate import contract, metrics, samples
from edgekd.gate.result import Check, Evaluation
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


def same_evaluation(baseline: Subject, evaluation: samples.Samples | None) -> None:
    """Raises ConfigError where a saved baseline was judged on other samples than it would be now."""
    then = baseline.evaluation
    if then and evaluation and then["sha256"] != evaluation.sha256:
        raise ConfigError(
            f"--data {evaluation.path}: another evaluation set than the baseline was saved with ({then['file']}, "
            f"{then['n']} samples, {then['sha256'][:12]}; this one is {evaluation.sha256[:12]}); give that one, or "
            "save the baseline again"
        )
