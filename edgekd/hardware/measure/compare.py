"""Compare models on one device as one observation: pairs in random order, fresh processes resampled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekd.data import signature
from edgekd.engine.events import Progress, Silent
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import UnavailableError
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.profile import DeviceProfile, Measuring, RuntimeSpec
from edgekd.hardware.stages import Compare
from edgekd.stats import Interval, mean_interval, percentile, ratio_interval

SCHEMA = 1
PROCESS_LIMIT_S = 600
BUSY = 1.25  # wall over CPU time above which the machine was doing something else
Samples = NDArray[np.int64]  # [processes, rounds], ns


@dataclass(frozen=True)
class Model:
    path: Path
    inputs: Mapping[str, Sequence[int]]  # name -> fixed shape


def run(settings: Compare, inputs: Mapping[str, Artifact], work: Work) -> None:
    models = {
        name.removeprefix("model."): Model(artifact.file(artifact.json("export.json")["entry"]),
                                           _shapes(artifact, settings.measuring.batch))
        for name, artifact in inputs.items()
    }  # fmt: skip
    result = measure(models, settings.runtime, settings.measuring, settings.bases, work.progress)
    (work.out / "comparison.json").write_text(json.dumps(result, indent=1), "utf-8")


def compare(models: Mapping[str, str | Path], profile: DeviceProfile) -> dict[str, Any]:
    """
    Compare ONNX files, all named in `models`, on the local CPU by the rules of the profile.

    Gives what a build stores: figures per model, and for every pair the ratio of thread CPU times with its
    95 % interval over processes. Free axes are set to the profile's batch.
    """
    files = {name: Model(Path(path), _onnx_inputs(Path(path), profile.measure.batch)) for name, path in models.items()}
    return measure(files, profile.runtimes[0], profile.measure, tuple(models), Progress(Silent()))


def measure(
    models: Mapping[str, Model], runtime: RuntimeSpec, measuring: Measuring, bases: Sequence[str], progress: Progress
) -> dict[str, Any]:
    seeds = progress.over(range(measuring.processes), measuring.processes, "process")
    answers = [_process(models, runtime, measuring, seed) for seed in seeds]
    wall = {name: np.array([answer[name]["wall"] for answer in answers]) for name in models}
    clock = {name: np.array([answer[name]["cpu"] for answer in answers]) for name in models}
    contention = float(np.median([np.median(wall[name] / np.maximum(clock[name], 1)) for name in models]))
    return {
        "schema": SCHEMA,
        "kind": "measured",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": cpu().model_dump(mode="json"),
        "processes": measuring.processes,
        "rounds": measuring.rounds,
        "batch": measuring.batch,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "contention": round(contention, 3),
        "noisy": contention > BUSY,
        "models": {name: _figures(wall[name], clock[name], [a[name] for a in answers]) for name in models},
        "size_bytes": {name: model.path.stat().st_size for name, model in models.items()},
        "speedup_over": {
            base: {name: list(speedup(clock[base], clock[name])) for name in models if name != base} for base in bases
        },
    }


def speedup(base: Samples, model: Samples) -> Interval:
    """How many times faster `model` is: the median paired ratio of each process, and its interval over processes."""
    return ratio_interval([float(np.median(b / np.maximum(m, 1))) for b, m in zip(base, model, strict=True)])


def verdict(ratio: Interval, minimum_effect: float = 0.02) -> Literal["faster", "slower", "same", "inconclusive"]:
    """What a speed-up with its interval says, where a difference below `minimum_effect` is none."""
    if ratio.low > 1 + minimum_effect:
        return "faster"
    if ratio.high < 1 / (1 + minimum_effect):
        return "slower"
    if ratio.low > 1 / (1 + minimum_effect) and ratio.high < 1 + minimum_effect:
        return "same"
    return "inconclusive"


def _process(models: Mapping[str, Model], runtime: RuntimeSpec, measuring: Measuring, seed: int) -> dict[str, Any]:
    request = {
        "seed": seed,
        "rounds": measuring.rounds,
        "warmup_runs": measuring.warmup_runs,
        "models": {
            name: {"path": str(m.path), "inputs": dict(m.inputs), "runtime": runtime.model_dump_json()}
            for name, m in models.items()
        },
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "edgekd.hardware.measure.worker"],
            input=json.dumps(request), capture_output=True, text=True, timeout=PROCESS_LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UnavailableError(
            f"measure: one process took more than {PROCESS_LIMIT_S} s for {len(models)} models; lower measure.rounds"
        ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UnavailableError(f"measure: the process that runs the models ended with {done.returncode}: {last}")
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def _figures(wall: Samples, clock: Samples, answers: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """What is said of one model, in ms; percentiles that n does not support are null."""
    per_process = mean_interval([float(np.median(row)) / 1e6 for row in wall])
    flat = (wall.ravel() / 1e6).tolist()
    return {
        "n": len(flat),
        "latency_p50_ms": [percentile(flat, 0.5), per_process.low, per_process.high],
        "latency_p90_ms": percentile(flat, 0.9),
        "latency_p99_ms": percentile(flat, 0.99),
        "cpu_p50_ms": float(np.median(clock)) / 1e6,
        "load_ms": float(np.median([a["load_ns"] for a in answers])) / 1e6,
        "first_inference_ms": float(np.median([a["first_ns"] for a in answers])) / 1e6,
    }


def _shapes(artifact: Artifact, batch: int) -> dict[str, Sequence[int]]:
    described = signature.read(artifact.path)
    return {described.inputs[0].name: described.fixed_shape(batch)}


def _onnx_inputs(path: Path, batch: int) -> dict[str, Sequence[int]]:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return {value.name: [axis.dim_value or batch for axis in value.type.tensor_type.shape.dim] for value in graph.input}
