"""What a model costs against what it cost before: latency, size, memory, layers that fell back to float."""

from __future__ import annotations

from collections.abc import Mapping

from edgekd.budget import Verdict, at_most, exactly
from edgekd.deploy.subject import Subject
from edgekd.deploy.verdicts import wall_time
from edgekd.gate import judge
from edgekd.gate.limits import Limits
from edgekd.gate.result import Check, Name
from edgekd.hardware.measure.compare import size_bytes
from edgekd.hardware.measure.result import Alone, Comparison
from edgekd.hardware.specs import OnnxRuntimeSpec

MIB = 2**20
MEMORY_FLOOR_MIB = 1.0  # less is a matter of pages
BASE, CANDIDATE = "baseline", "candidate"


def of_latency(limits: Limits, comparison: Comparison) -> list[Check]:
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


def of_size(limits: Limits, old: Subject, new: Subject) -> list[Check]:
    before, now = (size_bytes(subject.path) for subject in (old, new))
    says = f"{now / MIB:.3f} MiB, baseline {before / MIB:.3f}"
    found = []
    if limits.size_growth_percent is not None:
        verdict = exactly("size_growth_percent", limits.size_growth_percent, 100 * (now / before - 1))
        found.append(_check("size_growth", verdict, "%", says))
    if limits.size_mib is not None:
        found.append(_check("size", exactly("size_mib", limits.size_mib, now / MIB), "MiB", says))
    return found


def of_memory(limits: Limits, alone: Mapping[str, Alone], skipped: dict[Name, str]) -> list[Check]:
    before, now = (alone[name].peak_memory_mib for name in (BASE, CANDIDATE))
    if before is None or now is None:
        skipped["memory_growth"] = "this system does not tell a process's peak memory"
        return []
    found = []
    if limits.memory_growth_percent is not None:
        says = f"{now.value:.1f} MiB above the runtime's own, baseline {before.value:.1f}"
        verdict = judge.growth("memory_growth_mib", limits.memory_growth_percent, before, now, MEMORY_FLOOR_MIB)
        found.append(_check("memory_growth", verdict, "MiB", says))
    if limits.peak_memory_mib is not None:
        verdict = at_most("peak_memory_mib", limits.peak_memory_mib, *now)
        found.append(_check("memory", verdict, "MiB", "of the model, above the runtime's own"))
    return found


def of_coverage(limits: Limits, old: Subject, new: Subject, skipped: dict[Name, str]) -> list[Check]:
    if limits.coverage_drop_points is None:
        skipped["coverage"] = "it has no limit"
        return []
    from edgekd.deploy import fusion

    rows = []
    for subject in (old, new):
        path, spec = subject.path, subject.runtime
        if not isinstance(spec, OnnxRuntimeSpec) or not fusion.quantised(path):
            skipped["coverage"] = f"{path.name} is not a quantised file in ONNX Runtime"
            return []
        session, covered = fusion.in_onnxruntime(path, spec)
        session.close()
        rows.append(covered)
    shares = [100 * row.integer / max(1, row.total) for row in rows]
    verdict = exactly("coverage_drop_points", limits.coverage_drop_points, shares[0] - shares[1])
    left = f"; left in float: {', '.join(rows[1].left_float)}" if rows[1].left_float else ""
    says = f"{rows[1].integer} of {rows[1].total} layers, baseline {rows[0].integer} of {rows[0].total}{left}"
    return [_check("coverage", verdict, "points", says)]


def _check(name: Name, verdict: Verdict, unit: str, says: str) -> Check:
    return Check(name=name, state=verdict.state, says=says, unit=unit, verdict=verdict)
