"""One model's figures against a budget."""

from __future__ import annotations

from collections.abc import Mapping

from edgekd.budget import TEACHER, TEACHER_INT8, Budget, Verdict, at_least, at_most, exactly
from edgekd.deploy.exporter import Costs
from edgekd.deploy.stages import Room
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


def compiled(
    budget: Budget, room: Room, costs: Mapping[str, Costs | None], sizes: Mapping[str, int], name: str
) -> tuple[list[Verdict], list[str]]:
    """
    Verdicts on what a compiler said of `name`, and a sentence for every limit that nothing here can decide.

    `costs` and `sizes` (bytes) are of the variants and of the teacher's files, as far as they could be written.
    """
    own = costs[name] or Costs("none")
    found: list[Verdict] = []
    open_: list[str] = []

    def judge(limit: str, bound: float | None, value: float | None, why: str, *, least: bool = False) -> None:
        if bound is None:
            return
        if value is None:
            open_.append(f"{limit} {bound:g}: not decided, {why}")
        else:
            found.append(at_least(limit, bound, value, value, value) if least else exactly(limit, bound, value))

    unknown = f"the latency is {own.latency_kind}: measure on the device"
    teacher = costs.get(TEACHER_INT8)
    faster = teacher.latency_ms / own.latency_ms if teacher and teacher.latency_ms and own.latency_ms else None
    judge("latency_p50_ms", budget.latency_p50_ms, own.latency_ms, unknown)
    judge("speedup_over_teacher", budget.speedup_over_teacher, None, "the teacher's fp32 is not compiled for it")
    judge("speedup_over_teacher_int8", budget.speedup_over_teacher_int8, faster, unknown, least=True)
    judge("size_mib", budget.size_mib, sizes[name] / MIB, "")
    judge("shrink_over_teacher", budget.shrink_over_teacher, sizes[TEACHER] / sizes[name], "", least=True)
    judge("flash_kib", room.flash_kib, own.flash_kib, "its compiler says nothing of flash")
    judge("ram_kib", room.ram_kib, own.ram_kib, "its compiler says nothing of memory")
    return found, open_


def accuracy(budget: Budget, change: Interval) -> list[Verdict]:
    """The verdict on a paired change of accuracy in points (new minus teacher, 90 % interval)."""
    if budget.accuracy_drop_points is None:
        return []
    return [at_most("accuracy_drop_points", budget.accuracy_drop_points, -change.value, -change.high, -change.low)]
