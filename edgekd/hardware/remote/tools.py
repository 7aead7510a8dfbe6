"""
The runtimes' own benchmark tools, for devices without Python: how each is called, and what it prints.

`benchmark_app` was run and its output kept; of the others only published output was at hand: docs/devices.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from edgekd.errors import UnavailableError
from edgekd.hardware.profile import Measuring
from edgekd.hardware.runtime import Tensor
from edgekd.hardware.specs import CompilerSpec, LiteRtSpec, OnnxRuntimeSpec, OpenVinoSpec, RuntimeSpec

Statistic = Literal["median", "mean"]
MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "sec": 1e3}
NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"


@dataclass(frozen=True)
class Told:
    """By one process of a tool."""

    latency_ms: float
    statistic: Statistic
    runs: int | None
    version: str | None


@dataclass(frozen=True)
class Tool:
    name: str
    words: Callable[[str, Mapping[str, Tensor], Measuring], list[str]]  # of the model's path there
    read: Callable[[str], Told]
    first: Callable[[str, Mapping[str, Tensor]], list[str]] | None = None  # what is run once, before


def tool_of(spec: RuntimeSpec) -> Tool:
    """
    That the runtime comes with, with these of its settings; a setting that it does not have is refused.

    Raises UnavailableError for a compiler that has none.
    """
    if isinstance(spec, CompilerSpec):
        if spec.name != "tensorrt":
            raise UnavailableError(f"{spec.name}: has no tool that times a model on a device by itself")
        return Tool("trtexec", _trtexec, read_trtexec, _trtexec_builds)
    if isinstance(spec, OpenVinoSpec):
        return Tool("benchmark_app", lambda *asked: _benchmark_app(spec, *asked), read_benchmark_app)
    if isinstance(spec, LiteRtSpec):
        return Tool("benchmark_model", lambda *asked: _benchmark_model(spec, *asked), read_benchmark_model)
    return Tool("onnxruntime_perf_test", lambda *asked: _perf_test(spec, *asked), read_perf_test)


def _benchmark_app(spec: OpenVinoSpec, path: str, inputs: Mapping[str, Tensor], measuring: Measuring) -> list[str]:
    shapes = ",".join(f"{name}[{','.join(map(str, tensor.shape))}]" for name, tensor in inputs.items())
    return [
        "benchmark_app", "-m", path, "-d", spec.device, "-api", "sync", "-hint", "none", "-nstreams", "1",
        "-nthreads", str(spec.threads), "-infer_precision", spec.precision, "-shape", shapes, "-t", _seconds(measuring),
    ]  # fmt: skip


def _benchmark_model(spec: LiteRtSpec, path: str, _: Mapping[str, Tensor], measuring: Measuring) -> list[str]:
    return [
        "benchmark_model", f"--graph={path}", f"--num_threads={spec.threads}",
        f"--use_xnnpack={str(spec.xnnpack).lower()}", f"--warmup_runs={measuring.warmup_runs}",
        f"--num_runs={measuring.rounds}",
    ]  # fmt: skip


def _perf_test(spec: OnnxRuntimeSpec, path: str, _: Mapping[str, Tensor], measuring: Measuring) -> list[str]:
    if not spec.on_cpu:
        raise UnavailableError(f"onnxruntime_perf_test: edgekd runs it on the CPU alone, and not with {spec.provider}")
    return [
        "onnxruntime_perf_test", "-I", "-e", "cpu", "-x", str(spec.threads), "-m", "times", "-r", str(measuring.rounds),
        path,
    ]  # fmt: skip


def _trtexec_builds(path: str, inputs: Mapping[str, Tensor]) -> list[str]:
    """
    The engine is built where it is to run: it is neither portable across platforms nor across versions. What was
    timed on the way is kept there for the next one, in the cache folder of who is logged in.
    """
    script = (
        'mkdir -p "$HOME/.cache/edgekd" && exec trtexec "--onnx=$1" "--saveEngine=$1.plan" "--shapes=$2" '
        '"--timingCacheFile=$HOME/.cache/edgekd/trtexec.cache" --stronglyTyped --skipInference'
    )
    return ["sh", "-c", script, "sh", path, _shapes(inputs)]


def _trtexec(path: str, inputs: Mapping[str, Tensor], measuring: Measuring) -> list[str]:
    return ["trtexec", f"--loadEngine={path}.plan", f"--shapes={_shapes(inputs)}", f"--duration={_seconds(measuring)}"]


def _shapes(inputs: Mapping[str, Tensor]) -> str:
    return ",".join(f"{name}:{'x'.join(map(str, tensor.shape))}" for name, tensor in inputs.items())


def _seconds(measuring: Measuring) -> str:
    return str(max(1, round(measuring.time_s)))


def read_benchmark_app(text: str) -> Told:
    median = _last(rf"Median:\s+{NUMBER} (us|ms)", text, "benchmark_app")
    runs, version = re.search(r"Count:\s+(\d+) iterations", text), re.search(r"Build \.+ ([\w./-]+)", text)
    return Told(
        float(median[1]) * MS[median[2]], "median", int(runs[1]) if runs else None, version[1] if version else None
    )


def read_benchmark_model(text: str) -> Told:
    """The last `count=` line is of the runs after the warm-up; newer versions tell their median."""
    line = _last(rf"count=(\d+) first=.* avg={NUMBER}.*$", text, "benchmark_model", re.MULTILINE)
    if median := re.search(rf"median={NUMBER}", line[0]):
        return Told(float(median[1]) / 1e3, "median", int(line[1]), None)
    return Told(float(line[2]) / 1e3, "mean", int(line[1]), None)


def read_perf_test(text: str) -> Told:
    """Percentiles are in seconds, the average in milliseconds."""
    runs = re.search(r"Total (?:inference requests|iterations):\s*(\d+)", text)
    count = int(runs[1]) if runs else None
    if median := re.search(rf"P50 Latency(?: is|:) {NUMBER} (sec|s|ms)\b", text):
        return Told(float(median[1]) * MS[median[2]], "median", count, None)
    mean = _last(rf"Average (?:inference )?time cost(?: total)?:\s*{NUMBER} ms", text, "onnxruntime_perf_test")
    return Told(float(mean[1]), "mean", count, None)


def read_trtexec(text: str) -> Told:
    """Of the computation on the GPU, without copies there and back."""
    line = _last(rf"GPU Compute Time: .*median = {NUMBER} ms", text, "trtexec")
    version = re.search(r"\[TensorRT v(\d+)\]", text)
    return Told(float(line[1]), "median", None, version[1] if version else None)


def _last(pattern: str, text: str, tool: str, flags: int = 0) -> re.Match[str]:
    found = list(re.finditer(pattern, text, flags))
    if not found:
        raise UnavailableError(
            f"{tool}: no latency that edgekd can read is printed; another version may print otherwise"
        )
    return found[-1]
