"""Build this bundle's TensorRT engine on the device, and measure it there: needs numpy, tensorrt and CUDA's runtime.

python build_engine.py               # model.plan, timing.cache, engine-layers.json and engine-report.json beside it
python build_engine.py --build-only  # the engine alone; TensorRT for RTX can do that without a GPU
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
TO_DEVICE, TO_HOST = 1, 2  # cudaMemcpyKind
WARM_UP = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--build-only", action="store_true", help="do not measure")
    parser.add_argument("--runs", type=int, default=1000, help="that are measured (default: 1000)")
    arguments = parser.parse_args()
    settings = json.loads((HERE / "engine.json").read_text("utf-8"))
    try:
        trt = importlib.import_module(settings["library"])
    except ImportError as error:
        print(f"{settings['library']} is not installed here: {error}", file=sys.stderr)
        return 6
    try:
        engine = build(trt, HERE, settings)
        (HERE / "model.plan").write_bytes(engine)
        print(f"model.plan: {len(engine) / 1e6:.2f} MB, {settings['library']} {trt.__version__}")
        if not arguments.build_only:
            layers, figures = measure(trt, engine, settings, arguments.runs)
            told = {"schema": 1, settings["library"]: trt.__version__, **figures}
            (HERE / "engine-layers.json").write_text(layers, "utf-8")
            (HERE / "engine-report.json").write_text(json.dumps(told, indent=1), "utf-8")
            print(json.dumps(told))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 6
    return 0


def build(trt: Any, folder: Path, settings: Any) -> bytes:
    """The engine as bytes. Raises ValueError with the layer where the parser or the builder takes it not."""
    builder, network = parsed(trt, folder / settings["model"])
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings["workspace_mib"] << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # for engine-layers.json
    for name in flags(trt, settings):
        config.set_flag(getattr(trt.BuilderFlag, name))
    if capabilities := settings["compute_capabilities"]:  # TensorRT for RTX alone compiles for GPUs elsewhere
        config.num_compute_capabilities = len(capabilities)
        for place, one in enumerate(capabilities):
            config.set_compute_capability(capability(trt, one), place)
    add_profile(builder, config, settings["inputs"])
    cache = folder / "timing.cache"
    if settings["library"] == "tensorrt":  # RTX chooses kernels where it runs, and times none here
        config.set_timing_cache(config.create_timing_cache(cache.read_bytes() if cache.is_file() else b""), False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ValueError("TensorRT could not build the engine; what it printed says why")
    if settings["library"] == "tensorrt":
        cache.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(engine)


def parsed(trt: Any, path: Path) -> tuple[Any, Any]:
    """Its builder, which must live on, and the network. Raises ValueError with what the parser says of which layer."""
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    weak = 0 if weak_types(trt, fp16=False) else 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(weak)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(path.read_bytes()):
        first = parser.get_error(0)
        raise ValueError(f"layer {first.node_name()!r} ({first.node_operator()}): {first.desc().splitlines()[0]}")
    return builder, network


def flags(trt: Any, settings: Any) -> list[str]:
    """Names of the builder's. Zeros of 2:4 are looked for in weights; layers without, or no faster so, stay dense."""
    return [*weak_types(trt, fp16=settings["fp16"]), *(["SPARSE_WEIGHTS"] if settings["sparse"] else [])]


def weak_types(trt: Any, *, fp16: bool) -> list[str]:
    """Up to TensorRT 10 the precisions that a builder may choose are flags; since then the graph alone says them."""
    return [name for name in ("INT8", *(["FP16"] if fp16 else [])) if hasattr(trt.BuilderFlag, name)]


def capability(trt, text):
    name = f"SM{text.replace('.', '')}"
    if name not in trt.ComputeCapability.__members__:
        known = " ".join(one for one in trt.ComputeCapability.__members__ if one.startswith("SM"))
        raise ValueError(f"compute capability {text}: TensorRT for RTX {trt.__version__} builds for {known}")
    return trt.ComputeCapability.__members__[name]


def add_profile(builder, config, inputs):
    """The least, usual and largest shape of every input that leaves an axis free."""
    free = {name: one for name, one in inputs.items() if one["min"] != one["max"]}
    if not free:
        return
    profile = builder.create_optimization_profile()
    for name, one in free.items():
        profile.set_shape(name, one["min"], one["opt"], one["max"])
    config.add_optimization_profile(profile)


def measure(trt: Any, engine: bytes, settings: Any, runs: int) -> tuple[str, dict[str, Any]]:
    """
    What the engine's inspector says of its layers, and milliseconds at the usual shapes: from inputs in the host's
    memory to answers there by the host's clock, and of the engine alone between two CUDA events.
    """
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    opened = runtime.deserialize_cuda_engine(engine)
    if opened is None:
        raise ValueError("no CUDA device that runs this engine was found: it is built, and not measured")
    context, cuda = opened.create_execution_context(), Cuda()
    read, answered = bound(trt, opened, context, cuda, settings)
    times = [once(context, cuda, read, answered) for _ in range(WARM_UP + runs)][WARM_UP:]
    inspector = opened.create_engine_inspector()
    inspector.execution_context = context  # with the shapes that were set
    layers = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    (p50, gpu_p50), (p90, gpu_p90) = (np.percentile(times, one, axis=0).tolist() for one in (50, 90))
    return layers, {
        "kind": "measured", "n": runs, "latency_p50_ms": p50, "latency_p90_ms": p90,
        "engine_p50_ms": gpu_p50, "engine_p90_ms": gpu_p90,
    }  # fmt: skip


def once(context, cuda, read, answered):
    """Milliseconds of one run: by the host's clock with the copies, by the GPU's without."""
    start = time.perf_counter()
    for host, device in read:
        cuda.copy(device, host.ctypes.data, host.nbytes, TO_DEVICE)
    cuda.record(0)
    context.execute_async_v3(cuda.stream.value)
    cuda.record(1)
    for host, device in answered:
        cuda.copy(host.ctypes.data, device, host.nbytes, TO_HOST)
    cuda.wait()
    return (time.perf_counter() - start) * 1e3, cuda.between()


def bound(trt, opened, context, cuda, settings):
    """Arrays in the host's memory and rooms in the device's, of inputs and of outputs; the context knows the rooms."""
    generator = np.random.default_rng(0)
    moves: Any = ([], [])
    names = [opened.get_tensor_name(place) for place in range(opened.num_io_tensors)]
    outputs = {name: opened.get_tensor_mode(name) != trt.TensorIOMode.INPUT for name in names}
    for name in sorted(names, key=outputs.__getitem__):  # shapes of outputs follow from those of inputs
        if not outputs[name]:
            context.set_input_shape(name, settings["inputs"][name]["opt"])
        shape, kind = tuple(context.get_tensor_shape(name)), np.dtype(trt.nptype(opened.get_tensor_dtype(name)))
        host = np.ones(shape, kind) if kind.kind in "iu" else generator.random(shape).astype(kind)
        device = cuda.room(host.nbytes)
        context.set_tensor_address(name, device.value)
        moves[outputs[name]].append((host, device))
    return moves


class Cuda:
    """The few calls of CUDA's runtime library that are needed, without a package for them."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(ctypes.util.find_library("cudart") or "libcudart.so")
        self.stream = ctypes.c_void_p()
        self.call("cudaStreamCreate", ctypes.byref(self.stream))
        self.events = (ctypes.c_void_p(), ctypes.c_void_p())
        for event in self.events:
            self.call("cudaEventCreate", ctypes.byref(event))

    def call(self, name, *arguments):
        if code := getattr(self.library, name)(*arguments):
            raise ValueError(f"{name}: CUDA error {code}")

    def room(self, size):
        pointer = ctypes.c_void_p()
        self.call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer

    def copy(self, to, source, size, kind):
        as_pointer = [one if isinstance(one, ctypes.c_void_p) else ctypes.c_void_p(one) for one in (to, source)]
        self.call("cudaMemcpyAsync", *as_pointer, ctypes.c_size_t(size), kind, self.stream)

    def record(self, which):
        self.call("cudaEventRecord", self.events[which], self.stream)

    def between(self):
        """Milliseconds between the two events, which are over."""
        told = ctypes.c_float()
        self.call("cudaEventElapsedTime", ctypes.byref(told), *self.events)
        return told.value

    def wait(self):
        self.call("cudaStreamSynchronize", self.stream)


if __name__ == "__main__":
    sys.exit(main())
