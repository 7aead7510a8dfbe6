"""What the exported file answers in its own runtime, kept whole, so that comparisons can be paired."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from edgekd.data import signature
from edgekd.data.dataset import Dataset, preprocess
from edgekd.deploy import exporter
from edgekd.deploy.stages import Evaluate
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.hardware.runtime import open_session


def run(settings: Evaluate, inputs: Mapping[str, Artifact], work: Work) -> None:
    model, samples = inputs["model"], Dataset(inputs["data"]).split(settings.split)
    (spec,) = signature.read(model.path).inputs
    session = open_session(model.file(exporter.read(model)["entry"]), settings.runtime)
    x = preprocess(samples.images, spec.preprocess)
    batches = np.array_split(x, max(1, len(x) // settings.batch))
    logits = np.concatenate([session.run({spec.name: batch})[0] for batch in batches])
    session.close()
    save_file({"logits": logits, "labels": samples.labels}, work.out / "predictions.safetensors")
    right = int((logits.argmax(1) == samples.labels).sum())
    about = {"schema": 1, "split": settings.split, "right": right, "n": len(samples)}
    (work.out / "metrics.json").write_text(json.dumps(about), "utf-8")


def correct(predictions: Artifact) -> NDArray[np.bool_]:
    """Which samples [N] were answered right."""
    tensors = load_file(predictions.file("predictions.safetensors"))
    return np.asarray(tensors["logits"].argmax(1) == tensors["labels"])
