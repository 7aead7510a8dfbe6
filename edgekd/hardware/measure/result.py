"""What a measurement says, typed: the same in the store, in JSON and in Python."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from edgekd.engine.store import Artifact
from edgekd.errors import UnavailableError
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


Reason = Literal["under-voltage", "frequency capped", "throttled", "soft temperature limit", "cooling"]


class Look(Settings):
    """How the device was at a moment, as far as it tells: see edgekd.hardware.sysfs."""

    temperature_c: Annotated[float, Field(ge=-273.15, le=1000)] | None = None  # of its hottest zone
    clock_mhz: Annotated[float, Field(ge=0, le=1e6)] | None = None  # of its cores, on average
    throttled: Annotated[tuple[Reason, ...], Field(max_length=5)] | None = None  # now
    since_start: Annotated[tuple[Reason, ...], Field(max_length=5)] | None = None  # of the device
    throttle_count: Annotated[int, Field(ge=0, le=2**63)] | None = None


class Conditions(Settings):
    """Before, during (once an opening) and after a measurement."""

    before: Look
    during: tuple[Look, ...]
    after: Look

    @property
    def throttled(self) -> str | None:
        """What held the device back meanwhile; None where nothing did, or it does not tell."""
        reasons = [reason for look in (*self.during, self.after) for reason in look.throttled or ()]
        reasons += [reason for reason in self.after.since_start or () if reason not in (self.before.since_start or ())]
        found = ", ".join(dict.fromkeys(reasons))
        times = (self.after.throttle_count or 0) - (self.before.throttle_count or 0)
        return found or (f"slowed down {times} times" if times > 0 else None)

    def __str__(self) -> str:
        """What is known of temperature and clock."""
        looks = (self.before, *self.during, self.after)
        told = []
        if temperatures := [look.temperature_c for look in looks if look.temperature_c is not None]:
            told.append(f"{temperatures[0]:.0f} to {max(temperatures):.0f} °C")
        if clocks := [look.clock_mhz for look in self.during if look.clock_mhz is not None]:
            told.append(f"{min(clocks):.0f} to {max(clocks):.0f} MHz while it ran")
        if any(look.throttled is not None or look.throttle_count is not None for look in looks):
            told.append(f"throttled: {self.throttled or 'no'}")
        return ", ".join(told)


class Comparison(Settings):
    """All models of a set on one device, measured as one observation."""

    schema_version: int = Field(default=2, alias="schema")
    kind: Literal["measured", "emulated"] = "measured"
    when: str
    device: Cpu
    processes: int
    rounds: int  # of the process that had fewest
    batch: int
    clock: Literal["cpu", "wall"]  # what the ratios are of: thread CPU time; wall time where a model has more threads
    noise: Noise
    conditions: Conditions | None = None  # of older records
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
    """For a decision. Raises UnavailableError for times of an emulator."""
    found = Comparison.model_validate_json(comparison.file("comparison.json").read_text("utf-8"))
    refuse_emulated(found.kind)
    return found


def refuse_emulated(kind: str) -> None:
    if kind == "emulated":
        raise UnavailableError(
            "latency: emulated, which says nothing of a device; budgets, gates and search refuse it: measure on the "
            "device itself, or leave limits of latency and memory out"
        )
