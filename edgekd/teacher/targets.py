"""What a teacher says of a fixed set of views, computed once for all students that see these views."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgekd.data.dataset import Dataset
from edgekd.data.stages import Preprocess, Views
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError
from edgekd.teacher.answers import answers_of, exported_answers
from edgekd.teacher.deviation import deviation
from edgekd.teacher.stages import KeptViews, MakeTargets
from edgekd.train.bank import Bank, Kept, bank_of

FILE, ABOUT = "targets.safetensors", "targets.json"
ALL = 32  # classes: up to so many, all logits are kept
BATCH = 128  # of the teacher


def run(settings: MakeTargets, inputs: Mapping[str, Artifact], work: Work) -> None:
    """View by view; a killed run goes on after the last one that was finished."""
    torch.set_num_threads(settings.threads)
    samples = Dataset(inputs["data"]).split("train")
    bank = bank_of(samples, settings.preprocess, settings.views, settings.kept.views, settings.kept.seed)
    answer, form = exported_answers(inputs["model"], settings.threads) if "model" in inputs else (
        answers_of(inputs["teacher"].path), "torch, float32",
    )  # fmt: skip
    every = torch.arange(len(samples))
    parts = []
    for number in work.progress.over(range(bank.count), bank.count, "view"):
        path = work.scratch / f"view-{number:04d}.safetensors"
        if not path.is_file():
            asked = (bank.read(torch.full_like(rows, number), rows) for rows in every.split(BATCH))
            said = torch.cat([answer(x) for x in asked])
            half = path.with_suffix(".half")
            save_file(packed(said, settings.kept.top), half)
            half.replace(path)
        parts.append(load_file(path))
    kept = {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
    save_file(kept, work.out / FILE)
    classes = len(Dataset(inputs["data"]).labels)
    logits = unpacked(parts[0], classes)
    about = {
        "schema": 1,
        "kept": settings.kept.model_dump(mode="json"),
        "views": settings.views.model_dump(mode="json"),
        "preprocess": settings.preprocess.model_dump(mode="json"),
        "data": inputs["data"].digest,
        "form": form,
        "right_percent": 100 * float((logits.argmax(1).numpy() == samples.labels).mean()),  # on the first view
        "largest_probability": float(logits.softmax(1).amax(1).mean()),
        "t_stddev": deviation(torch.stack([unpacked(part, classes).softmax(1).mean(0) for part in parts]))
        if bank.count > 1
        else None,
    }
    (work.out / ABOUT).write_text(json.dumps(about, indent=1), "utf-8")


def about_targets(made: Artifact) -> dict[str, Any]:
    """What a report says of them."""
    told = made.json(ABOUT)
    return {"views": told["kept"]["views"]} | {name: told[name] for name in ("form", "right_percent", "t_stddev")}


def packed(logits: Tensor, top: int) -> dict[str, Tensor]:
    """
    Logits [N, K] in 16 bits, the largest of each sample 0; of more than ALL classes the `top` largest, and the mass of
    the others.

    Shen and Xing, "A fast knowledge distillation framework for visual recognition" (2022), "marginal smoothing": the
    others share what is left equally.
    """
    shifted = logits - logits.amax(1, keepdim=True)
    classes = logits.shape[1]
    if classes <= max(ALL, top):
        return {"logits": shifted.half()}
    values, places = shifted.topk(top, dim=1)
    others = shifted.scatter(1, places, float("-inf")).logsumexp(1) - np.log(classes - top)  # of each of them
    return {"values": values.half(), "places": places.int(), "others": others.half()}


def unpacked(stored: Mapping[str, Tensor], classes: int) -> Tensor:
    """Logits [N, K] again, up to a shift of each sample, which no softmax sees."""
    if "logits" in stored:
        return stored["logits"].float()
    filled = stored["others"].float()[:, None].repeat(1, classes)
    return filled.scatter(1, stored["places"].long(), stored["values"].float())


def kept_of(artifact: Artifact, classes: int) -> Kept:
    stored = load_file(artifact.file(FILE))

    def logits(which: Tensor, rows: Tensor) -> Tensor:
        return unpacked({name: values[which, rows] for name, values in stored.items()}, classes)

    return logits


def bank_for(artifact: Artifact, data: Artifact, views: Views, preprocess: Preprocess) -> tuple[Bank, Kept]:
    """
    The views that the targets are of, and the targets. Raises ConfigError where the student would see others.

    Targets of another view than the student's cost it 1.6 to 4 points (docs/methods.md).
    """
    about = artifact.json(ABOUT)
    wanted = {"views": views.model_dump(mode="json"), "preprocess": preprocess.model_dump(mode="json"),
              "data": data.digest}  # fmt: skip
    for what, value in wanted.items():
        if about[what] != value:
            raise ConfigError(
                f"distill.targets: were made of other {what} than the student would see; targets of other views "
                "teach it less than none: make them with these settings"
            )
    loaded = Dataset(data)
    kept = KeptViews.model_validate_json(json.dumps(about["kept"]))
    bank = bank_of(loaded.split("train"), preprocess, views, kept.views, kept.seed)
    return bank, kept_of(artifact, len(loaded.labels))
