"""Predict with this bundle: needs numpy and the runtime, nothing of edgekd.

python run.py photo.jpg        # a picture of any size, where Pillow is installed; resized as the training images were
python run.py image.npy        # uint8, height x width x channels
python run.py inputs.npz       # what the model reads, an array an input, for models that take no images
python run.py                  # the samples, where the bundle has some
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import pixels  # the file beside this one


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="pictures (with Pillow), .npy (uint8, HWC), or .npz")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    files = arguments.files or sorted((HERE / "samples").glob("*.npy"))
    if not files:
        parser.error("no file given, and this bundle has no samples")
    manifest = json.loads((HERE / "manifest.json").read_text("utf-8"))
    run = open_model(manifest)
    for path in files:
        try:
            row = {"file": path.name, **answer(run, manifest["signature"], path)}
        except (OSError, ValueError, ImportError, KeyError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
        told = f"{row['label']} ({row['probability']:.3f})" if "label" in row else row["output"]
        print(json.dumps(row) if arguments.json else f"{path.name}: {told}")
    return 0


def open_model(manifest):
    """A function from arrays by input to the first output, in the settings that were measured; checksums first."""
    for name, expected in manifest["files"].items():
        if name.startswith("model.") and hashlib.sha256((HERE / name).read_bytes()).hexdigest() != expected:
            sys.exit(f"{name}: not the file that manifest.json describes; build or copy the bundle again")
    runtime = manifest["runtime"]
    if runtime.get("affinity") and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, runtime["affinity"])
    opener = {"onnxruntime": in_onnxruntime, "openvino": in_openvino, "litert": in_litert}[runtime["name"]]
    return opener(str(HERE / manifest["model"]), runtime)


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
    session = ort.InferenceSession(path, options, providers=[runtime["provider"]])
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


def answer(run, signature, path):
    """The label and its probability for one image; the first output for other inputs."""
    spec, output = signature["inputs"][0], signature["outputs"][0]
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {"output": np.asarray(run({s["name"]: archive[s["name"]] for s in signature["inputs"]})).tolist()}
    if spec.get("preprocess") is None:
        raise ValueError("this model takes no images; give an .npz with an array an input")
    logits = np.asarray(run({spec["name"]: prepared(read_image(path, spec), spec)}))[0]
    if logits.ndim != 1 or len(logits) < 2:
        return {"output": logits.tolist()}  # a number, boxes or a mask: not one logit a class
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    best = int(shares.argmax())
    labels = output.get("labels") or [str(number) for number in range(len(shares))]
    return {"label": labels[best], "probability": round(float(shares.max()), 4)}


def read_image(path, spec):
    """uint8 [H, W, C], of the size that the model takes."""
    _, *shape = spec["shape"]
    height, width, channels = shape if spec["layout"] == "NHWC" else (*shape[1:], shape[0])
    source, how = path, spec["preprocess"]
    if path.suffix == ".npy":
        source = np.load(path, allow_pickle=False)
        how = {} if source.shape[:2] == (height, width) else how  # a sample is resized already
    image, _ = pixels.read(source, how, channels)
    if isinstance(height, int) and image.shape != (height, width, channels):
        raise ValueError(f"{image.dtype} {list(image.shape)}; this model takes uint8 [{height}, {width}, {channels}]")
    return image


def prepared(image, spec):
    """What the model reads of one image, in its layout; repeated where its batch is fixed at more."""
    how = spec["preprocess"]
    if how.get("inside"):
        x = image[None]
    else:
        x = pixels.normalised(image[None], how)
        x = np.ascontiguousarray(x if spec["layout"] == "NHWC" else x.transpose(0, 3, 1, 2))
    batch = spec["shape"][0]
    return np.repeat(x, batch, axis=0) if isinstance(batch, int) else x


if __name__ == "__main__":
    sys.exit(main())
