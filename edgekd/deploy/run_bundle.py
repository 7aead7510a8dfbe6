"""Predict with this bundle: needs numpy and the runtime, nothing of edgekd.

python run.py image.npy        # uint8, height x width x channels; png and jpeg where Pillow is installed
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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", nargs="*", type=Path, help=".npy (uint8, HWC), or .png/.jpg with Pillow")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    images = arguments.images or sorted((HERE / "samples").glob("*.npy"))
    if not images:
        parser.error("no image given, and this bundle has no samples")
    manifest = json.loads((HERE / "manifest.json").read_text("utf-8"))
    session = open_model(manifest)
    for path in images:
        try:
            label, probability = predict(session, manifest["signature"], read_image(path, manifest["signature"]))
        except (OSError, ValueError, ImportError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
        row = {"image": path.name, "label": label, "probability": round(probability, 4)}
        print(json.dumps(row) if arguments.json else f"{path.name}: {label} ({probability:.3f})")
    return 0


def open_model(manifest):
    """The model in the settings that were measured, after a look at its checksum."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported
    import onnxruntime as ort

    path = HERE / manifest["model"]
    if hashlib.sha256(path.read_bytes()).hexdigest() != manifest["files"][manifest["model"]]:
        sys.exit(f"{path.name}: not the file that manifest.json describes; build or copy the bundle again")
    runtime = manifest["runtime"]
    if runtime.get("affinity") and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, runtime["affinity"])
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
    return ort.InferenceSession(str(path), options, providers=[runtime["provider"]])


def read_image(path, signature):
    """uint8 [H, W, C], of the size that the model takes."""
    _, channels, height, width = signature["inputs"][0]["shape"]
    if path.suffix == ".npy":
        image = np.load(path, allow_pickle=False)
    else:
        from PIL import Image

        with Image.open(path) as picture:
            image = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    if image.ndim == 2:
        image = image[:, :, None]
    if image.dtype != np.uint8 or image.shape != (height, width, channels):
        raise ValueError(f"{image.dtype} {list(image.shape)}; this model takes uint8 [{height}, {width}, {channels}]")
    return image


def predict(session, signature, image):
    """The label and its probability for one image."""
    spec = signature["inputs"][0]
    how = spec["preprocess"]
    x = (image.astype(np.float32) / 255 - np.float32(how["mean"])) / np.float32(how["std"])
    (logits,) = session.run([signature["outputs"][0]["name"]], {spec["name"]: x.transpose(2, 0, 1)[None]})
    shares = np.exp(logits[0] - logits[0].max())
    shares /= shares.sum()
    return signature["outputs"][0]["labels"][int(shares.argmax())], float(shares.max())


if __name__ == "__main__":
    sys.exit(main())
