"""What the exported file answers in its own runtime, kept whole, so that comparisons can be paired."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from edgekd.data import signature
from edgekd.data.dataset import Dataset
from edgekd.data.feeds import feeds
from edgekd.data.stages import Split
from edgekd.deploy import exporter
from edgekd.deploy.proof import agrees
from edgekd.deploy.stages import Evaluate, EvaluateThere
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.hardware.answering import Feeds, predict
from edgekd.hardware.remote.compare import answered
from edgekd.hardware.specs import CompilerSpec


def run(settings: Evaluate, inputs: Mapping[str, Artifact], work: Work) -> None:
    """Samples without labels are right where the model answers as `like` does: the model as it was given."""
    model, arrays = inputs["model"], Dataset(inputs["data"]).arrays(settings.split)
    session = exporter.opened(model, settings.threads)
    answers = predict(model.kind, session, feeds(arrays, signature.read(model.path).inputs), settings.batch)
    session.close()
    right = _right(answers, arrays.get("labels"), inputs.get("like"))
    write(work.out, settings.split, answers, right, arrays.get("labels"))


def run_there(settings: EvaluateThere, inputs: Mapping[str, Artifact], work: Work) -> None:
    """The device answers; whether it is right is found here."""
    model, arrays = inputs["model"], Dataset(inputs["data"]).arrays(settings.split)
    spec = exporter.runtime(model)
    assert not isinstance(spec, CompilerSpec)
    fed = feeds(arrays, signature.read(model.path).inputs)
    asked = Feeds(fed, settings.batch)
    answers = answered(exporter.entry(model), spec, asked, work.progress, settings.cpu, settings.there)
    write(work.out, settings.split, answers, _right(answers, arrays.get("labels"), None), arrays.get("labels"))


def write(
    folder: Path, split: Split, answers: NDArray[Any], right: NDArray[np.bool_], labels: NDArray[np.int64] | None
) -> None:
    """A predictions artifact: answers [N, ...], which are right [N], and the labels [N] where there are any."""
    kept = {"answers": np.ascontiguousarray(answers), "right": right}
    if labels is not None:
        kept["labels"] = np.asarray(labels)
    save_file(kept, folder / "predictions.safetensors")
    about = {"schema": 2, "split": split, "right": int(right.sum()), "n": len(right)}
    (folder / "metrics.json").write_text(json.dumps(about), "utf-8")


def correct(predictions: Artifact) -> NDArray[np.bool_]:
    """Which samples [N] were answered right."""
    return np.asarray(load_file(predictions.file("predictions.safetensors"))["right"])


def _right(answers: NDArray[Any], labels: NDArray[np.int64] | None, like: Artifact | None) -> NDArray[np.bool_]:
    if labels is not None:
        return np.asarray(answers.argmax(1) == labels)
    if like is None:
        return np.ones(len(answers), bool)
    return agrees(load_file(like.file("predictions.safetensors"))["answers"], answers)
