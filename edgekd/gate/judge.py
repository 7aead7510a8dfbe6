"""From measurements to verdicts in three states: pure functions, whose errors are bounded at 5 % a limit."""

from __future__ import annotations

import math

from scipy import stats

from edgekd.budget import Verdict, at_most
from edgekd.stats import Interval

CONFIDENCE = 0.90  # of the two ends together: each is a one-sided 95 % bound, and one of them decides
USUAL_SPREAD_PERCENT = 0.9  # between processes, of the ratio of two models that differ a little: benchmarks/gate_power
POWER = 0.80
SAME_CODE = 0.003  # relative difference of instruction counts that is none: they repeat to 0.0001


def regression_percent(speedup: Interval) -> Interval:
    """How much slower the candidate is, of how many times faster it is than the baseline."""
    return Interval(*(100 * (1 / end - 1) for end in (speedup.value, speedup.high, speedup.low)))


def latency(speedup: Interval, limit_percent: float) -> Verdict:
    """Of a speed-up with its 90 % interval: fails only where the regression's lower end lies above the limit."""
    return at_most("latency_regression_percent", limit_percent, *regression_percent(speedup))


def smallest_regression_percent(limit_percent: float, processes: int, spread: float = USUAL_SPREAD_PERCENT) -> float:
    """What true regression is found in 80 % of the cases, where `spread` is usual between processes."""
    t = stats.t.ppf(0.95, processes - 1) + stats.t.ppf(POWER, processes - 1)
    return limit_percent + float(t) * spread / math.sqrt(processes)


def growth(name: str, limit_percent: float, base: Interval, candidate: Interval, floor: float = 0.0) -> Verdict:
    """
    Of a figure of both models with its interval: by how much the candidate's is larger, in the figure's own unit.

    A growth below `floor` is none: a page more or less is much of a small model's memory.
    """
    bound = max(limit_percent / 100 * base.value, floor)
    return at_most(name, bound, candidate.value - base.value, candidate.low - base.high, candidate.high - base.low)
