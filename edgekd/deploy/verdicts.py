"""One model's figures against a budget."""

from __future__ import annotations

from edgekd.budget import TEACHER, TEACHER_INT8, Budget, Verdict, at_least, at_most
from edgekd.hardware.measure.result import Comparison
from edgekd.stats import Interval

MIB = 2**20


def latency_and_size(budget: Budget, comparison: Comparison, name: str) -> list[Verdict]:
    """Verdicts on what a comparison measured of the model `name`."""
    sizes = {model: figures.size_bytes for model, figures in comparison.models.items()}
    found = []
    if budget.latency_p50_ms is not None:
        found.append(wall_time(budget.latency_p50_ms, comparison, name))
    for base, limit in ((TEACHER, "speedup_over_teacher"), (TEACHER_INT8, "speedup_over_teacher_int8")):
        if (bound := getattr(budget, limit)) is not None:
            found.append(at_least(limit, bound, *comparison.speedup_over[base][name]))
    if budget.size_mib is not None:
        size = sizes[name] / MIB
        found.append(at_most("size_mib", budget.size_mib, size, size, size))
    if budget.shrink_over_teacher is not None:
        shrink = sizes[TEACHER] / sizes[name]
        found.append(at_least("shrink_over_teacher", budget.shrink_over_teacher, shrink, shrink, shrink))
    return found


def wall_time(bound_ms: float, comparison: Comparison, name: str) -> Verdict:
    """
    On an absolute limit of wall time. Other work only adds to it, so that a machine too busy to judge fails nobody
    whose CPU time is not more than twice the limit: no noise here was seen to double that.
    """
    figures = comparison.models[name]
    verdict = at_most("latency_p50_ms", bound_ms, *figures.latency_p50_ms)
    busy = comparison.noise.noisy and verdict.state == "fail" and figures.cpu_p50_ms <= 2 * bound_ms
    return verdict.model_copy(update={"state": "inconclusive"}) if busy else verdict


def accuracy(budget: Budget, change: Interval) -> list[Verdict]:
    """The verdict on a paired change of accuracy in points (new minus teacher, 90 % interval)."""
    if budget.accuracy_drop_points is None:
        return []
    return [at_most("accuracy_drop_points", budget.accuracy_drop_points, -change.value, -change.high, -change.low)]
