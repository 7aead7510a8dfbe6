"""How well scores rank nets: against what was really reached, and by what a pick would have cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.stats import Interval

Array = NDArray[np.float64]
RESAMPLES = 2000


def tau(scores: Sequence[float] | Array, reached: Sequence[float] | Array) -> float:
    """
    Kendall's tau-b of scores with accuracies: 1 for the same order, 0 for none, NaN where either is one value alone.

    Of a few dozen nets some ten times as fast as SciPy's, and intervals ask for it thousands of times.
    """
    (ours, theirs) = (np.sign(np.subtract.outer(row, row)) for row in (np.asarray(scores), np.asarray(reached)))
    pairs = np.sqrt((ours**2).sum() * (theirs**2).sum())
    return float((ours * theirs).sum() / pairs) if pairs else float("nan")


def regret(scores: Sequence[float], reached: Sequence[float], costs: Sequence[float], limit: float) -> float:
    """Points that the best by score, among what costs at most `limit`, lies below the best there is. Ties: the mean."""
    score, value = np.asarray(scores, float), np.asarray(reached, float)
    within = np.asarray(costs, float) <= limit
    if not within.any():
        raise ValueError(f"nothing costs at most {limit:g}; the cheapest costs {min(costs):g}")
    best = within & (score == score[within].max())
    return float(value[within].max() - value[best].mean())


def budgets(costs: Sequence[float], count: int = 9) -> list[float]:
    """The deciles of what nets cost, without the ends: limits of which each has something to choose from."""
    return [float(np.quantile(costs, part / (count + 1))) for part in range(1, count + 1)]


def mean_regret(scores: Sequence[float], reached: Sequence[float], costs: Sequence[float]) -> float:
    return float(np.mean([regret(scores, reached, costs, limit) for limit in budgets(costs)]))


def better_than(
    scores: Sequence[float], others: Sequence[float], reached: Sequence[float]
) -> tuple[float, float, Interval]:
    """Tau of both with what was reached, and the difference with its interval over nets drawn again."""
    score, other, value = (np.asarray(row, float) for row in (scores, others, reached))

    def difference(rows: NDArray[np.intp]) -> float:
        return tau(score[rows], value[rows]) - tau(other[rows], value[rows])

    return tau(scores, reached), tau(others, reached), resampled(difference, len(reached))


def resampled(value: Callable[[NDArray[np.intp]], float], nets: int, *, seed: int = 0, level: float = 0.95) -> Interval:
    """`value` of the rows of all nets, with the percentile interval over nets drawn again with replacement."""
    generator = np.random.default_rng(seed)
    found = [value(generator.integers(0, nets, nets)) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value(np.arange(nets)), float(low), float(high))
