"""What a model costs against what it cost before: latency, size, memory, layers that fell back to float."""

from __future__ import annotations

from collections.abc import Mapping

from edgekd.budget import Verdict, at_most, exactly
from edgekd.deploy.subject import Subject
from edgekd.gate import judge
from edgekd.gate.limits import Limits
from edgekd.gate.result import Check, Name
from edgekd.hardware.measure.result import Alone, Comparison
from edgekd.hardware.specs import OnnxRuntimeSpec

MIB = 2**20
MEMORY_FLOOR_MIB = 1.0  # less is a matter of pages
BASE, CANDIDATE = "baseline", "candidate"


def of_measurements(
    limits: Limits, comparison: Comparison, alone: Mapping[str, Alone], skipped: dict[Name, str]
) -> list[Check]:
    found = []
    figures = comparison.models[CANDIDATE]
    clock = {"cpu": "thread CPU", "wall": "wall"}[comparison.clock]
    if limits.latency_regression_percent is not None:
        verdict = judge.latency(comparison.process_speedups[BASE][CANDIDATE], limits.latency_regression_percent)
        found.append(_check("latency", verdict, "%", f"{clock} time, {comparison.processes} processes"))
    if limits.latency_p50_ms is not None:
        verdict = at_most("latency_p50_ms", limits.latency_p50_ms, *figures.latency_p50_ms)
        if comparison.noise.noisy and verdict.state == "fail":
            verdict = verdict.model_copy(update={"state": "inconclusive"})
        found.append(_check("latency_p50", verdict, "ms", "wall time"))
    found += _size(limits, *(comparison.models[name].size_bytes for name in (BASE, CANDIDATE)))
    return found + _memory(limits, alone, skipped)


def _size(limits: Limits, base_bytes: int, candidate_bytes: int) -> list[Check]:
    found = []
    size = candidate_bytes / MIB
    says = f"{size:.3f} MiB, baseline {base_bytes / MIB:.3f}"
    if limits.size_growth_percent is not None:
        grown = 100 * (candidate_bytes / base_bytes - 1)
        found.append(
            _check("size_growth", exactly("size_growth_percent", limits.size_growth_percent, grown), "%", says)
        )
    if limits.size_mib is not None:
        found.append(_check("size", exactly("size_mib", limits.size_mib, size), "MiB", says))
    return found


def _memory(limits: Limits, alone: Mapping[str, Alone], skipped: dict[Name, str]) -> list[Check]:
    peaks = [alone[name].peak_memory_mib for name in (BASE, CANDIDATE)] if alone else []
    known = [peak for peak in peaks if peak is not None]
    if alone and len(known) < 2:
        skipped["memory_growth"] = "this system does not tell a process's peak memory"
        return []
    found = []
    if limits.memory_growth_percent is not None:
        says = f"{known[1].value:.1f} MiB above the runtime's own, baseline {known[0].value:.1f}"
        verdict = judge.growth("memory_growth_mib", limits.memory_growth_percent, known[0], known[1], MEMORY_FLOOR_MIB)
        found.append(_check("memory_growth", verdict, "MiB", says))
    if limits.peak_memory_mib is not None:
        verdict = at_most("peak_memory_mib", limits.peak_memory_mib, *known[1])
        found.append(_check("memory", verdict, "MiB", "of the model, above the runtime's own"))
    return found


def of_coverage(old: Subject, new: Subject, limits: Limits, skipped: dict[Name, str]) -> list[Check]:
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
