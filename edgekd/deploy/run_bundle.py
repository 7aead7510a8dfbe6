"""Predict with this bundle: needs numpy and the runtime, nothing of edgekd.

python run.py photo.jpg        # a picture of any size, where Pillow is installed; resized as the training images were
python run.py image.npy        # uint8, height x width x channels
python run.py inputs.npz       # what the model reads, an array an input, for models that take no images
python run.py                  # the samples, where the bundle has some
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import pixels  # the files beside this one
import runtimes


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="pictures (with Pillow), .npy (uint8, HWC), or .npz")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    files = arguments.files or sorted((HERE / "samples").glob("*.npy"))
    if not files:
        parser.error("no file given, and this bundle has no samples")
    manifest = json.loads((HERE / "manifest.json").read_text("utf-8"))
    run = runtimes.open_model(HERE, manifest)
    for path in files:
        try:
            row = {"file": path.name, **answer(run, manifest["signature"], path)}
        except (OSError, ValueError, ImportError, KeyError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
        told = f"{row['label']} ({row['probability']:.3f})" if "label" in row else row["output"]
        print(json.dumps(row) if arguments.json else f"{path.name}: {told}")
    return 0


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
