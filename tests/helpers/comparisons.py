"""Comparisons as they would have been measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekd.engine.store import Artifact
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.measure.result import Comparison, Figures, Noise
from edgekd.stats import Interval

QUIET = Noise(contention=1.0, steal_percent=0.0, spread_percent=0.5, load_average=0.1, reasons=())
BUSY = Noise(contention=2.0, steal_percent=0.0, spread_percent=0.5, load_average=4.0, reasons=("wall time is twice",))


def figures(p50_ms: float = 1.0, size_bytes: int = 1) -> Figures:
    return Figures(
        n=840,
        latency_p50_ms=Interval(p50_ms, 0.95 * p50_ms, 1.05 * p50_ms),
        latency_p90_ms=p50_ms,
        latency_p95_ms=p50_ms,
        latency_p99_ms=p50_ms,
        cpu_p50_ms=p50_ms,
        load_ms=1.0,
        first_inference_ms=p50_ms,
        warmup_runs=20,
        instructions=None,
        size_bytes=size_bytes,
    )


def comparison(
    models: Mapping[str, Figures], speedup_over: Mapping[str, Mapping[str, Interval]], noise: Noise = QUIET
) -> Comparison:
    return Comparison(
        when="2026-01-01T00:00:00+00:00",
        device=Cpu(model="scripted", architecture="x86_64", isa=()),
        processes=7,
        rounds=120,
        batch=1,
        clock="cpu",
        noise=noise,
        models=dict(models),
        speedup_over={base: dict(row) for base, row in speedup_over.items()},
        process_speedups={
            base: {name: (ratio.low, ratio.value, ratio.high) for name, ratio in row.items()}
            for base, row in speedup_over.items()
        },
    )


def stored(folder: Path, made: Comparison) -> Artifact:
    (folder / "comparison.json").write_text(made.model_dump_json(by_alias=True))
    return Artifact("comparison", "c", folder)
