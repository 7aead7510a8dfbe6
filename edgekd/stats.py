"""The statistics behind every number that edgekd prints: pure functions, sources in their docstrings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats


class Interval(NamedTuple):
    """An estimate with the two ends of its confidence interval."""

    value: float
    low: float
    high: float


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean; the values are independent (processes, seeds), never runs of one process."""
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval needs at least 2 independent values, got {n}")
    mean = float(np.mean(values))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half)


def geometric_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """
    The geometric mean of positive values, one a process (times, ratios), with its t interval on the log scale.

    What disturbs a time multiplies it, and no end lies below zero however far two processes are apart.
    """
    log = mean_interval([math.log(value) for value in values], confidence)
    return Interval(*(math.exp(end) for end in log))


def paired_difference(base: NDArray[np.bool_], new: NDArray[np.bool_], confidence: float = 0.90) -> Interval:
    """
    Accuracy of `new` minus accuracy of `base`, in percentage points, on the same samples [N].

    d = (c - b) / n with variance (b + c - (c - b)^2 / n) / n^2, where b samples were right only before and
    c only now: the normal interval of a paired difference of proportions. The default of 0.90 makes each
    end a one-sided 95 % bound, which is what a non-inferiority verdict asks for.
    Source: Agresti, "Categorical Data Analysis" (2002), equation 10.1. Ours: with few discordant pairs the normal
    interval is too narrow, so it is never narrower than the rule of three, -log(1 - level) / n to either side.
    """
    if base.shape != new.shape or base.ndim != 1 or not len(base):
        raise ValueError(f"paired samples need the same length, got {base.shape} and {new.shape}")
    return discordant_difference(int((base & ~new).sum()), int((~base & new).sum()), len(base), confidence)


def discordant_difference(lost: int, won: int, n: int, confidence: float = 0.90) -> Interval:
    """`paired_difference` from its counts: of `n` samples, `lost` were right only before and `won` only now."""
    d = (won - lost) / n
    variance = (lost + won - (won - lost) ** 2 / n) / n**2
    normal = float(special.ndtri((1 + confidence) / 2)) * math.sqrt(variance)
    half = max(normal, -math.log((1 - confidence) / 2) / n)
    return Interval(100 * d, 100 * (d - half), 100 * (d + half))


def smallest_drop_points(margin: float, n: int, discordance: float, power: float = 0.80) -> float:
    """The true drop that fails a margin in `power` of the cases, where that share of the pairs is discordant."""
    z = float(special.ndtri(0.95) + special.ndtri(power))
    return margin + 100 * z * math.sqrt(discordance / n)


def mcnemar(lost: int, won: int) -> float:
    """One-sided exact p that `lost` is the larger only by chance (McNemar 1947); it is told and decides nothing."""
    return float(stats.binomtest(lost, lost + won, alternative="greater").pvalue) if lost + won else 1.0


def bootstrap_difference(
    metric: Callable[[NDArray[np.intp]], float],
    n: int,
    confidence: float = 0.90,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """
    The percentile interval of a difference over resampled samples (Efron 1979).

    `metric` takes row numbers [N] and gives the difference of both models on just those rows, so that pairs stay
    together. The seed is fixed: the same predictions give the same interval.
    """
    draw = np.random.default_rng(seed)
    values = [metric(draw.integers(0, n, n)) for _ in range(resamples)]
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(metric(np.arange(n)), float(low), float(high))


def proportion_interval(right: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of an accuracy, in percent (Wilson 1927, equation 7)."""
    ends = stats.binomtest(right, n).proportion_ci(confidence, method="wilson")
    return Interval(100 * right / n, 100 * float(ends.low), 100 * float(ends.high))


def conformal_quantile(scores: Sequence[float], confidence: float = 0.9) -> float:
    """
    What a new score stays below with at least this probability, whatever scores are drawn from.

    The ceil((n + 1) x confidence)-th smallest of n exchangeable scores; Angelopoulos and Bates, "A gentle introduction
    to conformal prediction" (2021), section 1. Raises ValueError where so few scores support no such bound.
    """
    if len(scores) < (fewest := fewest_scores(confidence)):
        raise ValueError(f"a {confidence:.0%} bound needs at least {fewest} scores, got {len(scores)}")
    return float(np.sort(scores)[_rank(len(scores), confidence) - 1])


def fewest_scores(confidence: float) -> int:
    """That `conformal_quantile` gives a bound for: the largest of them, then."""
    return next(n for n in count(1) if _rank(n, confidence) <= n)


def _rank(n: int, confidence: float) -> int:
    return math.ceil(round((n + 1) * confidence, 9))  # 20 x 0.95 is 19, and a little more in binary


def percentile(samples: Sequence[float], q: float) -> float | None:
    """
    The `q` percentile as a conservative order statistic, or None where n does not support it.

    MLPerf's early stopping for single streams: t is the largest number with P(X <= t) <= 0.01 for
    X ~ binomial(n, 1 - q), the t - 1 largest samples are discarded, the next largest is the estimate.
    Refused where t < 1: below 64 samples for p90, 130 for p95, 662 for p99 (mlcommons inference_rules,
    "early stopping"). The median is the plain one, and is never refused.
    """
    if q == 0.5:
        return float(np.median(samples))
    n = len(samples)
    t = int(stats.binom.ppf(0.01, n, 1 - q))  # smallest with P(X <= t) >= 0.01
    if stats.binom.cdf(t, n, 1 - q) > 0.01:
        t -= 1
    return float(np.sort(samples)[n - t]) if t >= 1 else None
