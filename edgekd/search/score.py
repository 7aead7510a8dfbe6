"""Score every candidate of a sample side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from edgekd.data.dataset import Dataset, preprocess
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.models import checkpoint
from edgekd.models.residual_cnn import mac_count, parameter_count
from edgekd.models.shape import NetShape
from edgekd.search import space
from edgekd.search.scores import diswot
from edgekd.search.scores.synflow import synflow
from edgekd.search.stages import Score


def run(settings: Score, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.threads)
    data = Dataset(inputs["data"])
    train = data.split("train")
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(settings.seed))[: settings.images]
    x = torch.from_numpy(preprocess(train.images[rows.numpy()], settings.preprocess))
    labels = torch.from_numpy(train.labels[rows.numpy()])
    teacher = None
    if settings.teacher is not None:
        teacher_net = checkpoint.build(settings.teacher, data.labels, data.image[0], settings.seed).net
        teacher = diswot.look(teacher_net, x, labels)
        teacher_scores = {"params": parameter_count(teacher_net), "macs": mac_count(teacher_net, data.image)}
    else:
        teacher_scores = inputs["teacher"].json("size.json")

    def scored(shape: NetShape) -> dict[str, Any]:
        net = checkpoint.build(shape, data.labels, data.image[0], settings.seed).net
        flow = synflow(net, data.image)
        relation, semantic = None, None
        if teacher is not None:
            own = diswot.look(net, x, labels)  # last: it moves the batch norms' statistics
            relation, semantic = diswot.relation(own, teacher), diswot.semantic(own, teacher)
        return {
            "params": parameter_count(net),
            "macs": mac_count(net, data.image),
            "synflow": flow,
            "diswot": None if semantic is None or relation is None else semantic + relation,
            "diswot-semantic": semantic,
            "diswot-relation": relation,
        }

    shapes = space.sample(settings.space, settings.candidates, settings.seed)
    candidates = [
        {"id": f"c{number:03d}", "shape": shape.model_dump(mode="json"), "scores": scored(shape)}
        for number, shape in enumerate(work.progress.over(shapes, len(shapes), "candidate"))
    ]
    answer = {"schema": 1, "teacher": teacher_scores, "candidates": candidates}
    (work.out / "scores.json").write_text(json.dumps(answer, indent=1), "utf-8")
