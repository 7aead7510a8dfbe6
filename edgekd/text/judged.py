"""How good an exported encoder is, from its answers and the teacher's: pure functions, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.budget import Verdict, at_least, at_most
from edgekd.stats import Interval, bootstrap_difference, mean_interval, paired_difference, proportion_interval
from edgekd.text.evaluate import Answers
from edgekd.text.metrics import cosines, spearman
from edgekd.text.plans import TextBudget

Array = NDArray[Any]
RESAMPLES = 1_000
NEIGHBOURS = 10  # that each text is compared with


def fidelity(own: Answers, teacher: Answers) -> Interval:
    """
    How alike both rank pairs of texts by their cosines: Spearman, with its 90 % bootstrap interval over texts.

    Of each text and so many others: all pairs would be no more of texts, and take long to resample.
    """
    n = len(own.texts)
    steps = range(1, min(NEIGHBOURS, n - 1) + 1)
    mine, theirs = (
        np.stack([cosines(answers.texts, np.roll(answers.texts, -step, 0)) for step in steps], 1)
        for answers in (own, teacher)
    )
    return bootstrap_difference(
        lambda rows: spearman(mine[rows].ravel(), theirs[rows].ravel()), n, resamples=RESAMPLES // 4
    )


def cosine(own: Answers, other: Answers) -> Interval | None:
    """The mean cosine of what both say of a text; None where they do not speak of the same space."""
    if own.texts.shape != other.texts.shape:
        return None
    return mean_interval(cosines(own.texts, other.texts).tolist())


def nearest(own: Answers, teacher: Answers, k: int = NEIGHBOURS) -> float:
    """For how many texts, in percent, the one that the teacher finds nearest is among the `k` nearest: recall at k."""
    mine, theirs = (_similarities(answers.texts) for answers in (own, teacher))
    wanted = theirs.argmax(1)
    above = (mine > mine[np.arange(len(mine)), wanted][:, None]).sum(1)
    return 100 * float((above < k).mean())


def _similarities(texts: Array) -> Array:
    """Cosines of all with all others [N, N]; with itself a text is not compared."""
    unit = texts / np.maximum(np.linalg.norm(texts, axis=1, keepdims=True), 1e-12)
    found = unit @ unit.T
    np.fill_diagonal(found, -2.0)
    return np.asarray(found)


def pairs_spearman(own: Answers) -> Interval:
    found = cosines(own.first, own.second)
    return bootstrap_difference(lambda rows: spearman(found[rows], own.scores[rows]), len(found), resamples=RESAMPLES)


def pairs_drop_points(own: Answers, teacher: Answers) -> Interval:
    """Spearman x 100 of the teacher less this one's, on the same pairs."""
    mine, theirs = (cosines(answers.first, answers.second) for answers in (own, teacher))

    def drop(rows: NDArray[np.intp]) -> float:
        return 100 * (spearman(theirs[rows], own.scores[rows]) - spearman(mine[rows], own.scores[rows]))

    return bootstrap_difference(drop, len(mine), resamples=RESAMPLES)


def right(own: Answers) -> NDArray[np.bool_]:
    """Which texts [N] are given their class."""
    assert own.labels is not None
    return np.asarray(own.texts.argmax(1) == own.labels)


def quality(budget: TextBudget, own: Answers, teacher: Answers) -> list[Verdict]:
    """
    Verdicts on what may not be lost, against the teacher's own file. Limits on pairs need some: where a split has none
    they are left to the other.
    """
    found = []
    if budget.accuracy_drop_points is not None:
        change = paired_difference(right(teacher), right(own))
        drop = (-change.value, -change.high, -change.low)
        found.append(at_most("accuracy_drop_points", budget.accuracy_drop_points, *drop))
    if budget.fidelity is not None:
        found.append(at_least("fidelity", budget.fidelity, *fidelity(own, teacher)))
    if budget.spearman is not None and len(own.scores):
        found.append(at_least("spearman", budget.spearman, *pairs_spearman(own)))
    if budget.spearman_drop_points is not None and len(own.scores):
        found.append(at_most("spearman_drop_points", budget.spearman_drop_points, *pairs_drop_points(own, teacher)))
    return found


def told(own: Answers, teacher: Answers, floats: Answers) -> dict[str, Any]:
    """All that is known of one file's quality, for the report: values with both ends, and of how many."""
    found: dict[str, Any] = {"n": len(own.texts), "fidelity": None, "cosine_to_teacher": None}
    if own.labels is None:
        found["fidelity"] = list(fidelity(own, teacher))
        found["cosine_to_teacher"] = _plain(cosine(own, teacher))
        found["recall_at_10_percent"] = nearest(own, teacher)
    else:
        correct = right(own)
        found["accuracy_percent"] = list(proportion_interval(int(correct.sum()), len(correct)))
        found["accuracy_change_points"] = list(paired_difference(right(teacher), correct))
        found["agrees_with_teacher_percent"] = 100 * float((own.texts.argmax(1) == teacher.texts.argmax(1)).mean())
    found["cosine_to_float"] = _plain(cosine(own, floats))
    if len(own.scores):
        found["pairs"] = len(own.scores)
        found["spearman"] = list(pairs_spearman(own))
        found["spearman_drop_points"] = list(pairs_drop_points(own, teacher))
    return found


def _plain(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)
