"""What a model costs against what it cost before: latency, size, memory, layers that fell back to float."""

from __future__ import annotations

from collections.abc import Mapping

from edgekd.budget import Verdict, at_most, exactly
from edgekd.deploy.exporter import Coverage
from edgekd.deploy.subject import Subject
from edgekd.deploy.verdicts import wall_time
from edgekd.gate import judge
from edgekd.gate.limits import Limits
from edgekd.gate.result import Check, Name
from edgekd.hardware.measure.compare import size_bytes
from edgekd.hardware.measure.result import Alone, Comparison, refuse_emulated
from edgekd.hardware.specs import OnnxRuntimeSpec

MIB = 2**20
MEMORY_FLOOR_MIB = 1.0  # less is a matter of pages
BASE, CANDIDATE = "baseline", "candidate"
NO_LIMIT, NOT_TOLD = "it has no limit", "this system does not tell a process's peak memory"


def of_latency(limits: Limits, comparison: Comparison) -> list[Check]:
    """Raises UnavailableError for times of an emulator."""
    refuse_emulated(comparison.kind)
    found = []
    clock = {"cpu": "thread CPU", "wall": "wall"}[comparison.clock]
    if limits.latency_regression_percent is not None:
        ratio = comparison.speedup(CANDIDATE, BASE, judge.CONFIDENCE)
        verdict = judge.latency(ratio, limits.latency_regression_percent)
        found.append(_check("latency", verdict, "%", f"{clock} time, {comparison.processes} processes"))
    if limits.latency_p50_ms is not None:
        verdict = wall_time(limits.latency_p50_ms, comparison, CANDIDATE)
        found.append(_check("latency_p50", verdict, "ms", "wall time"))
    return found


def of_size(limits: Limits, old: Subject, new: Subject, skipped: dict[Name, str]) -> list[Check]:
    before, now = (size_bytes(subject.path) for subject in (old, new))
    says = f"{now / MIB:.3f} MiB, baseline {before / MIB:.3f}"
    found = []
    if limits.size_growth_percent is None:
        skipped["size_growth"] = NO_LIMIT
    else:
        verdict = exactly("size_growth_percent", limits.size_growth_percent, 100 * (now / before - 1))
        found.append(_check("size_growth", verdict, "%", says))
    if limits.size_mib is not None:
        found.append(_check("size", exactly("size_mib", limits.size_mib, now / MIB), "MiB", says))
    return found


def of_memory(limits: Limits, alone: Mapping[str, Alone], skipped: dict[Name, str]) -> list[Check]:
    """Where the system tells no peak, a limit that was set is undecided, and one that is only a default is skipped."""
    before, now = (alone[name].peak_memory_mib for name in (BASE, CANDIDATE))
    found = []
    if before is None or now is None:
        asked: dict[Name, str] = {"memory_growth": "memory_growth_percent", "memory": "peak_memory_mib"}
        found = [
            Check(name=name, state="inconclusive", says=NOT_TOLD)
            for name, limit in asked.items()
            if limit in limits.model_fields_set and getattr(limits, limit) is not None
        ]
        if "memory_growth_percent" not in limits.model_fields_set:
            skipped["memory_growth"] = NOT_TOLD
        return found
    if limits.memory_growth_percent is None:
        skipped["memory_growth"] = NO_LIMIT
    else:
        says = f"{now.value:.1f} MiB above the runtime's own, baseline {before.value:.1f}"
        verdict = judge.growth("memory_growth_mib", limits.memory_growth_percent, before, now, MEMORY_FLOOR_MIB)
        found.append(_check("memory_growth", verdict, "MiB", says))
    if limits.peak_memory_mib is not None:
        verdict = at_most("peak_memory_mib", limits.peak_memory_mib, *now)
        found.append(_check("memory", verdict, "MiB", "of the model, above the runtime's own"))
    return found


def of_coverage(limits: Limits, old: Subject, new: Subject, skipped: dict[Name, str]) -> list[Check]:
    """Of a baseline that is quantised: a candidate that is not covers nothing."""
    from edgekd.deploy import fusion

    bound, specs = limits.coverage_drop_points, (old.runtime, new.runtime)
    if bound is None or not all(isinstance(spec, OnnxRuntimeSpec) for spec in specs) or not fusion.quantised(old.path):
        skipped["coverage"] = NO_LIMIT if bound is None else "the baseline is not a quantised file in ONNX Runtime"
        return []
    before, now = (_covered(subject) for subject in (old, new))
    verdict = exactly("coverage_drop_points", bound, _share_percent(before) - _share_percent(now))
    left = f"; left in float: {', '.join(now.left_float)}" if now.left_float else ""
    says = f"{now.integer} of {now.total} layers, baseline {before.integer} of {before.total}{left}"
    return [_check("coverage", verdict, "points", says)]


def _covered(subject: Subject) -> Coverage:
    from edgekd.deploy import fusion

    assert isinstance(subject.runtime, OnnxRuntimeSpec)
    session, covered = fusion.in_onnxruntime(subject.path, subject.runtime)
    session.close()
    return covered


def _share_percent(covered: Coverage) -> float:
    return 100 * covered.integer / max(1, covered.total)


def _check(name: Name, verdict: Verdict, unit: str, says: str) -> Check:
    return Check(name=name, state=verdict.state, says=says, unit=unit, verdict=verdict)
