"""Limits, absolute or relative to the teacher, and verdicts in three states."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, Protocol

from pydantic import Field

from edgekd.errors import InconclusiveError
from edgekd.settings import Settings

TEACHER, TEACHER_INT8 = "teacher-fp32", "teacher-int8"  # the names of what every student is held against
QUALITY = ("accuracy_drop_points", "fidelity", "spearman", "spearman_drop_points")  # limits on what answers are worth
State = Literal["pass", "fail", "inconclusive"]


class Budget(Settings):
    """A limit that is left out is not checked."""

    accuracy_drop_points: float | None = Field(default=None, ge=0)  # below the teacher, in its own runtime
    latency_p50_ms: float | None = Field(default=None, gt=0)
    size_mib: float | None = Field(default=None, gt=0)
    speedup_over_teacher: float | None = Field(default=None, gt=0)  # the teacher's fp32, same runtime
    speedup_over_teacher_int8: float | None = Field(default=None, gt=0)
    shrink_over_teacher: float | None = Field(default=None, gt=0)  # fp32 file of the teacher / this file
    flash_kib: float | None = Field(default=None, gt=0)  # of devices that are compiled for; a profile has its own
    ram_kib: float | None = Field(default=None, gt=0)

    def with_headroom(self, factor: float) -> Budget:
        """Limits on speed and size tighter by `factor`: what is picked for them does not sit on the real ones."""
        tighter = {}
        for name in ("latency_p50_ms", "size_mib"):
            if (limit := getattr(self, name)) is not None:
                tighter[name] = limit / factor
        for name in ("speedup_over_teacher", "speedup_over_teacher_int8", "shrink_over_teacher"):
            if (limit := getattr(self, name)) is not None:
                tighter[name] = limit * factor
        return self.model_copy(update=tighter)


def check_decidable(budget: Budget, samples: int) -> None:
    """
    Refuse a margin of accuracy that `samples` test samples could not decide even if no answer differed.

    With no discordant pair the one-sided 95 % bound of a change is -log(0.05) / n (the rule of three), so that
    n must be at least 300 / margin in points. That is the least: with discordant pairs it takes more.
    """
    margin = budget.accuracy_drop_points
    if margin is None:
        return
    smallest = -100 * math.log(0.05) / samples
    if margin < smallest:
        needed = f"at least {math.ceil(-100 * math.log(0.05) / margin)} are needed" if margin else "no number is enough"
        raise InconclusiveError(
            f"budget.accuracy_drop_points: {margin:g}: {samples} test samples cannot decide it, {needed}; "
            f"give more test samples, or a margin of {math.ceil(100 * smallest) / 100:g} or more"
        )


class Verdict(Settings):
    """What became of one limit: `value` with the ends of its interval, against `bound`."""

    limit: str
    bound: float
    value: float
    low: float
    high: float
    state: State

    def __str__(self) -> str:
        return f"{self.limit} {self.value:.4g} [{self.low:.4g}, {self.high:.4g}], limit {self.bound:g}: {self.state}"


def at_most(limit: str, bound: float, value: float, low: float, high: float) -> Verdict:
    state: State = "pass" if high <= bound else "fail" if low > bound else "inconclusive"
    return Verdict(limit=limit, bound=bound, value=value, low=low, high=high, state=state)


def exactly(limit: str, bound: float, value: float) -> Verdict:
    """At most `bound`, of what is known without an interval."""
    return at_most(limit, bound, value, value, value)


def at_least(limit: str, bound: float, value: float, low: float, high: float) -> Verdict:
    state: State = "pass" if low >= bound else "fail" if high < bound else "inconclusive"
    return Verdict(limit=limit, bound=bound, value=value, low=low, high=high, state=state)


class Judged(Protocol):
    """Whatever has come to one of the three states."""

    @property
    def state(self) -> State: ...


def worst(judged: Iterable[Judged]) -> State:
    states = {one.state for one in judged}
    return "fail" if "fail" in states else "inconclusive" if "inconclusive" in states else "pass"
