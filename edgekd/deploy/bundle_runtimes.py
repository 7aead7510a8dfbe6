"""Opens a bundle's model: needs numpy and the runtime, nothing of edgekd."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path


def open_model(folder, manifest):
    """A function from arrays by input to the first output, in the settings that were measured; checksums first."""
    for name, expected in manifest["files"].items():
        if name.startswith("model.") and hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
            sys.exit(f"{name}: not the file that manifest.json describes; build or copy the bundle again")
    runtime = manifest["runtime"]
    if runtime.get("affinity") and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, runtime["affinity"])
    opener = {"onnxruntime": in_onnxruntime, "openvino": in_openvino, "litert": in_litert}[runtime["name"]]
    return opener(str(folder / manifest["model"]), runtime)


def in_onnxruntime(path, runtime):
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = runtime["threads"]
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if runtime["spinning"] else "0")
    levels = {
        "all": "ORT_ENABLE_ALL",
        "extended": "ORT_ENABLE_EXTENDED",
        "basic": "ORT_ENABLE_BASIC",
        "disabled": "ORT_DISABLE_ALL",
    }
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, levels[runtime["graph_optimization"]])
    tensorrt = runtime["provider"] == "TensorrtExecutionProvider"  # it wants to hear of a graph that has its scales
    told = {"trt_int8_enable": "1"} if tensorrt and b"QuantizeLinear" in Path(path).read_bytes() else {}
    session = ort.InferenceSession(path, options, providers=[runtime["provider"]], provider_options=[told])
    return lambda feeds: session.run(None, feeds)[0]


def in_openvino(path, runtime):
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it would look a host up
    import openvino as ov

    core = ov.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": runtime["threads"],
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": runtime["precision"],
    }
    compiled = core.compile_model(core.read_model(path), runtime["device"], settings)
    return lambda feeds: compiled(feeds)[compiled.outputs[0]]


def in_litert(path, runtime):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if runtime["xnnpack"] else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(path, num_threads=runtime["threads"], experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    indices = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}

    def run(feeds):
        for name, array in feeds.items():
            interpreter.set_tensor(indices[name], array)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return run
