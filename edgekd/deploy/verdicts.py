"""One model's figures against a budget."""

from __future__ import annotations

from typing import Any

from edgekd.budget import TEACHER, TEACHER_INT8, Budget, Verdict, at_least, at_most
from edgekd.stats import Interval

MIB = 2**20


def latency_and_size(budget: Budget, comparison: dict[str, Any], name: str) -> list[Verdict]:
    """Verdicts on what a comparison measured of the model `name`."""
    sizes = comparison["size_bytes"]
    found = []
    if budget.latency_p50_ms is not None:
        value, low, high = comparison["models"][name]["latency_p50_ms"]
        found.append(at_most("latency_p50_ms", budget.latency_p50_ms, value, low, high))
    for base, limit in ((TEACHER, "speedup_over_teacher"), (TEACHER_INT8, "speedup_over_teacher_int8")):
        if (bound := getattr(budget, limit)) is not None:
            found.append(at_least(limit, bound, *comparison["speedup_over"][base][name]))
    if budget.size_mib is not None:
        size = sizes[name] / MIB
        found.append(at_most("size_mib", budget.size_mib, size, size, size))
    if budget.shrink_over_teacher is not None:
        shrink = sizes[TEACHER] / sizes[name]
        found.append(at_least("shrink_over_teacher", budget.shrink_over_teacher, shrink, shrink, shrink))
    return found


def accuracy(budget: Budget, change: Interval) -> list[Verdict]:
    """The verdict on a paired change of accuracy in points (new minus teacher, 90 % interval)."""
    if budget.accuracy_drop_points is None:
        return []
    return [at_most("accuracy_drop_points", budget.accuracy_drop_points, -change.value, -change.high, -change.low)]
