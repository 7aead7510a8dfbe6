"""Compare models on one device as one observation: pairs in random order, fresh processes resampled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.stats import trim_mean

from edgekd.data import signature
from edgekd.engine.events import Progress
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError
from edgekd.hardware.fingerprint import Cpu, cpu
from edgekd.hardware.measure.counters import cpu_jiffies
from edgekd.hardware.measure.noise import Samples, noise
from edgekd.hardware.measure.process import Launch, launch
from edgekd.hardware.measure.result import Comparison, Conditions, Figures, Look
from edgekd.hardware.parts import parts_of
from edgekd.hardware.profile import Measuring
from edgekd.hardware.runtime import Tensor
from edgekd.hardware.specs import Runnable, read_runnable
from edgekd.hardware.stages import Compare
from edgekd.hardware.sysfs import look
from edgekd.stats import geometric_interval, percentile

WORKER = "edgekd.hardware.measure.worker"
TRIMMED = 0.2  # at either end


@dataclass(frozen=True)
class Model:
    """A file to be measured, in which runtime and on what: arrays of `data`, or random ones like `inputs`."""

    path: Path
    runtime: Runnable
    inputs: Mapping[str, Tensor]
    data: Path | None = None
    batch: int = 1  # samples a run
    slowdown: float = 0.0  # a share of each run that the worker waits busily: for benchmarks of the gate
    primed: bool = False  # a run that is not timed before each that is: caches hold what they hold of a model alone

    def asked(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "runtime": self.runtime.model_dump_json(),
            "inputs": {name: [tensor.dtype, tensor.shape] for name, tensor in self.inputs.items()},
            "data": str(self.data) if self.data else None,
            "slowdown": self.slowdown,
            "primed": self.primed,
        }


Jiffies = tuple[int, int] | None


@dataclass(frozen=True)
class Place:
    """A device: its processor, and a look at its counters of time, its heat and its clock."""

    cpu: Cpu
    look: Callable[[], tuple[Jiffies, Look]]
    kind: Literal["measured", "emulated"] = "measured"
    elsewhere: bool = True


def here() -> Place:
    return Place(cpu(), lambda: (cpu_jiffies(), Look.model_validate_json(json.dumps(look()))), elsewhere=False)


def run(settings: Compare, inputs: Mapping[str, Artifact], work: Work) -> None:
    batch = settings.measuring.batch
    models = {name.removeprefix("model."): model_of(artifact, batch) for name, artifact in inputs.items()}
    result = observe(models, settings.measuring, settings.bases, work.progress)
    (work.out / "comparison.json").write_text(result.model_dump_json(indent=1, by_alias=True), "utf-8")


def model_of(exported: Artifact, batch: int) -> Model:
    """What an exporter left, in the runtime that it was made for."""
    told = exported.json("export.json")
    runtime = read_runnable(json.dumps(told["runtime"]))
    return Model(exported.file(told["entry"]), runtime, _inputs(exported, batch), batch=batch)


def observe(
    models: Mapping[str, Model],
    measuring: Measuring,
    bases: Sequence[str],
    progress: Progress,
    run_process: Launch | None = None,
    place: Place | None = None,
) -> Comparison:
    """
    Measure all `models` in the same fresh processes; ratios are taken against each of `bases`.

    `run_process` stands in for the process in tests of clocks and faults; `place` is a device elsewhere, with a
    `run_process` that runs there.
    """
    run_process, where = run_process or launch(WORKER), place or here()
    before, looked_before = where.look()
    seeds = progress.over(range(measuring.processes), measuring.processes, "process")
    answers = [run_process(request(models, measuring, seed)) for seed in seeds]
    after, looked_after = where.look()
    wall = {name: [answer[name]["wall"] for answer in answers] for name in models}
    clock = {name: [answer[name]["cpu"] for answer in answers] for name in models}
    flat_wall, flat_clock = ({n: [np.concatenate(p) for p in rows[n]] for n in models} for rows in (wall, clock))
    one_thread = _threads(models) == 1 and all(model.runtime.on_cpu for model in models.values())
    ratios = process_speedups(clock if one_thread else wall, bases)
    conditions = Conditions(before=looked_before, during=looks_of(answers), after=looked_after)
    held_back = conditions.throttled
    told = noise(flat_wall, flat_clock, (before, after), one_thread=one_thread, throttled=held_back)
    if where.elsewhere:
        told = told.model_copy(update={"load_average": None})  # it would be this machine's
    return Comparison(
        kind=where.kind,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        device=where.cpu,
        processes=measuring.processes,
        rounds=min(len(row) for rows in flat_wall.values() for row in rows),
        batch=next(iter(models.values())).batch,
        clock="cpu" if one_thread else "wall",
        noise=told,
        conditions=conditions,
        models={
            name: figures(flat_wall[name], flat_clock[name], [a[name] for a in answers], size_bytes(model.path))
            for name, model in models.items()
        },
        speedup_over={base: {name: geometric_interval(r) for name, r in row.items()} for base, row in ratios.items()},
        process_speedups=ratios,
    )


def looks_of(answers: Sequence[Mapping[str, Any]]) -> tuple[Look, ...]:
    """All models ran at once, so that any one's looks are those of all."""
    found = [next(iter(answer.values())).get("looks", ()) for answer in answers]
    return tuple(Look.model_validate_json(json.dumps(each)) for looks in found for each in looks)


Openings = Sequence[Sequence[int]]  # of one model in one process: ns of each run, one row an opening


def process_speedups(
    times: Mapping[str, Sequence[Openings]], bases: Sequence[str]
) -> dict[str, dict[str, tuple[float, ...]]]:
    """How many times faster than each base every other model is, by process."""
    return {
        base: {
            name: tuple(paired_ratio(b, m) for b, m in zip(times[base], rows, strict=True))
            for name, rows in times.items()
            if name != base
        }
        for base in bases
    }


def paired_ratio(base: Openings, model: Openings) -> float:
    """
    Base over model in one process: the mean over its openings, of log ratios of pairs without the outer fifths.

    The openings have either order equally often, so that what the order does cancels. A trimmed mean withstands
    interrupted runs as a median does, and is as certain with a third fewer rounds (Huber 1981, chapter 1).
    """
    logs = [
        trim_mean(np.log(np.asarray(b, np.float64) / np.maximum(m, 1)), TRIMMED)
        for b, m in zip(base, model, strict=True)
    ]
    return float(np.exp(np.mean(logs)))


def figures(wall: Samples, clock: Samples, answers: Sequence[Mapping[str, Any]], size: int) -> Figures:
    """What is said of one model, in ms; percentiles that n does not support are None."""
    flat = (np.concatenate(wall) / 1e6).tolist()
    medians = [float(np.median(row)) / 1e6 for row in wall]
    counts = [answer["instructions"] for answer in answers if answer["instructions"] is not None]
    return Figures(
        n=len(flat),
        latency_p50_ms=geometric_interval(medians),
        latency_p90_ms=percentile(flat, 0.9),
        latency_p95_ms=percentile(flat, 0.95),
        latency_p99_ms=percentile(flat, 0.99),
        cpu_p50_ms=float(np.median(np.concatenate(clock))) / 1e6,
        load_ms=float(np.median([answer["load_ns"] for answer in answers])) / 1e6,
        first_inference_ms=float(np.median([answer["first_ns"] for answer in answers])) / 1e6,
        warmup_runs=int(np.median([answer["warmup_runs"] for answer in answers])),
        instructions=int(np.median(counts)) if counts else None,
        size_bytes=size,
    )


def size_bytes(path: Path) -> int:
    return sum(part.stat().st_size for part in parts_of(path) if part.is_file())


def request(models: Mapping[str, Model], measuring: Measuring, seed: int) -> dict[str, Any]:
    """What one process is asked."""
    affinities = {model.runtime.affinity for model in models.values()}
    if len(affinities) > 1:
        raise ConfigError(
            f"measure: {', '.join(models)}: their runtimes name different cores ({affinities}); one process runs all "
            "of them: give them one `affinity`"
        )
    return {
        "seed": seed,
        "openings": measuring.openings,
        "rounds": measuring.rounds,
        "time_s": measuring.time_s,
        "warmup_runs": measuring.warmup_runs,
        "threads": _threads(models),
        "affinity": next(iter(affinities)),
        "models": {name: model.asked() for name, model in models.items()},
    }


def _threads(models: Mapping[str, Model]) -> int:
    return max(model.runtime.threads for model in models.values())


def _inputs(artifact: Artifact, batch: int) -> dict[str, Tensor]:
    inputs = signature.read(artifact.path).inputs
    return {spec.name: Tensor(spec.name, spec.dtype, signature.fixed_shape(spec, batch)) for spec in inputs}
