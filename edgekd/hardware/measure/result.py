"""What a measurement says, typed: the same in the store, in JSON and in Python."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgekd.engine.store import Artifact
from edgekd.hardware.fingerprint import Cpu
from edgekd.settings import Settings
from edgekd.stats import Interval, geometric_interval

Says = Literal["faster", "slower", "same", "inconclusive"]
MINIMUM_EFFECT = 0.02  # a difference below it is none


class Figures(Settings):
    """One model: wall time. Percentiles are over all runs, None where n supports none."""

    n: int
    latency_p50_ms: Interval  # the mean of the processes' medians
    latency_p90_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    cpu_p50_ms: float
    load_ms: float
    first_inference_ms: float
    warmup_runs: int
    instructions: int | None  # of one inference: they say that the executed code changed, not how long it takes
    size_bytes: int


class Noise(Settings):
    """How quiet the machine was. Ratios of CPU time withstand much of it, absolute wall times do not."""

    contention: float | None  # wall over CPU time of one thread: 1 on a machine of one's own
    steal_percent: float | None  # of all cores' time, taken by the hypervisor
    spread_percent: float  # standard deviation between the processes' medians of CPU time, of the worst model
    load_average: float | None
    reasons: tuple[str, ...]  # why it is too noisy; none where it is not

    @property
    def noisy(self) -> bool:
        return bool(self.reasons)

    def __str__(self) -> str:
        contention = "not known of several threads" if self.contention is None else f"{self.contention:g}"
        steal = "" if self.steal_percent is None else f", steal {self.steal_percent:g} %"
        return f"contention (wall / CPU) {contention}{steal}, spread between processes {self.spread_percent:g} %"


class Comparison(Settings):
    """All models of a set on one device, measured as one observation."""

    schema_version: int = Field(default=2, alias="schema")
    kind: Literal["measured"] = "measured"
    when: str
    device: Cpu
    processes: int
    rounds: int  # of the process that had fewest
    batch: int
    clock: Literal["cpu", "wall"]  # what the ratios are of: thread CPU time; wall time where a model has more threads
    noise: Noise
    models: dict[str, Figures]
    speedup_over: dict[str, dict[str, Interval]]  # base -> model -> times faster, 95 %
    process_speedups: dict[str, dict[str, tuple[float, ...]]]  # one a process: what that interval is of

    def speedup(self, model: str, base: str, confidence: float = 0.95) -> Interval:
        """How many times faster `model` is than `base`."""
        return geometric_interval(self.process_speedups[base][model], confidence)

    def verdict(self, model: str, base: str, minimum_effect: float = MINIMUM_EFFECT) -> Says:
        """What `model` is against `base`, where a difference below `minimum_effect` is none."""
        return verdict(self.speedup_over[base][model], minimum_effect)


class Throughput(Settings):
    batch: int
    sessions: int  # at once, one thread of the caller each
    items_per_s: Interval


class Alone(Settings):
    """What is measured of one model at a time, in processes of its own."""

    processes: int
    peak_memory_mib: Interval | None  # what the model adds to a process that has the runtime loaded, at its peak
    process_peak_mib: Interval | None  # the whole process
    throughput: tuple[Throughput, ...]
    energy_mj: float | None  # of the processor package, an inference
    energy_none_because: str | None


class Measured(Settings):
    """What `edgekd profile` says of one model file."""

    model: str
    runtime: dict[str, Any]  # the settings, and the version that ran
    inputs: tuple[str, ...]
    comparison: Comparison
    alone: Alone

    @property
    def figures(self) -> Figures:
        (only,) = self.comparison.models.values()
        return only


def verdict(ratio: Interval, minimum_effect: float = MINIMUM_EFFECT) -> Says:
    """What a speed-up with its interval says."""
    if ratio.low > 1 + minimum_effect:
        return "faster"
    if ratio.high < 1 / (1 + minimum_effect):
        return "slower"
    if ratio.low > 1 / (1 + minimum_effect) and ratio.high < 1 + minimum_effect:
        return "same"
    return "inconclusive"


def read(comparison: Artifact) -> Comparison:
    return Comparison.model_validate_json(comparison.file("comparison.json").read_text("utf-8"))
