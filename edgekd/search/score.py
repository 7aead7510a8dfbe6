"""Score every candidate of a sample side by side."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from edgekd.data.dataset import Dataset, preprocess
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.models import checkpoint
from edgekd.models.residual_cnn import ResidualCnn, mac_count, parameter_count
from edgekd.models.shape import NetShape
from edgekd.search import space
from edgekd.search.scores import diswot
from edgekd.search.scores.plugins import PLUGINS, Candidate, Shown
from edgekd.search.stages import Score


def run(settings: Score, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.threads)
    shown, teacher = shown_to_all(settings, inputs)
    shapes = space.sample(settings.space, settings.candidates, settings.seed)
    candidates = [
        {"id": f"c{number:03d}", "shape": shape.model_dump(mode="json"), **scored(shape, shown, settings)}
        for number, shape in enumerate(work.progress.over(shapes, len(shapes), "candidate"))
    ]
    answer = {"schema": 1, "teacher": teacher, "image": shown.image, "candidates": candidates}
    (work.out / "scores.json").write_text(json.dumps(answer, indent=1), "utf-8")


def scored(shape: NetShape, shown: Shown, settings: Score) -> dict[str, Any]:
    """`scores` by name, the mean over initialisations; with several of them `noise`, their deviation."""
    each = [Candidate(shape, settings.seed + number, shown) for number in range(settings.inits)]
    found = {name: [PLUGINS[name](one) for one in each] for name in settings.scores}
    told: dict[str, Any] = {"scores": {name: _mean(values) for name, values in found.items()}}
    if settings.inits > 1:
        told["noise"] = {
            name: statistics.stdev(values) for name, row in found.items() if len(values := _there(row)) > 1
        }
    return told


def shown_to_all(settings: Score, inputs: Mapping[str, Artifact]) -> tuple[Shown, dict[str, Any]]:
    """What every candidate is shown, and the teacher's own size."""
    data = Dataset(inputs["data"])
    train = data.split("train")
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(settings.seed))[: settings.images]
    x = torch.from_numpy(preprocess(train.images[rows.numpy()], settings.preprocess))
    labels = torch.from_numpy(train.labels[rows.numpy()])
    if settings.teacher is None:
        return Shown(x, labels, data.labels), inputs["teacher"].json("size.json")
    net = checkpoint.build(settings.teacher, data.labels, data.image[0], settings.seed).net
    size = {"params": parameter_count(net), "macs": mac_count(net, data.image)}
    trained = trained_features(inputs["teacher"], x) if "teacher" in inputs else None
    look = diswot.look(diswot.with_usual_head(net, settings.seed + settings.inits), x, labels)
    return Shown(x, labels, data.labels, look, trained), size


@torch.no_grad()
def trained_features(teacher: Artifact, x: Tensor) -> Tensor | None:
    """The last feature map [N, ...] of a teacher that is one of edgekd's own nets."""
    net = checkpoint.net_of(teacher.path)
    return net.eval().features(x) if isinstance(net, ResidualCnn) else None


def _there(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float | None]) -> float | None:
    there = _there(values)
    return statistics.fmean(there) if len(there) == len(values) else None
