"""What comes out of a trained supernet: the losses of its sub-networks, and each as a checkpoint of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.data.dataset import Dataset, Samples
from edgekd.data.stages import Preprocess
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.models import checkpoint
from edgekd.models.residual_cnn import mac_count, parameter_count
from edgekd.models.shape import NetShape
from edgekd.search.supernets.nested import extract, sub_shapes
from edgekd.search.supernets.stages import Extract, JudgeSubnets, ScoreSubnets, Statistics
from edgekd.train.average import norms_anew
from edgekd.train.batches import normalised, pixels

BATCH = 256  # of the split that is judged


def run_judge(settings: JudgeSubnets, inputs: Mapping[str, Artifact], work: Work) -> None:
    """`subnets.json`: shapes with parameters, MACs, the loss and how many are right; the smallest first."""
    torch.set_num_threads(settings.threads)
    data, supernet = Dataset(inputs["data"]), checkpoint.load(inputs["supernet"].path)
    judged = data.split(settings.split)
    rows: list[dict[str, Any]] = []
    shapes = some(sub_shapes(supernet.config.shape, settings.nested), settings.count, settings.seed)
    for number, shape in enumerate(work.progress.over(shapes, len(shapes), "sub-network")):
        net = extract(supernet, shape).net
        estimate(net, seen(data, settings.preprocess, settings.statistics))
        size = {"params": parameter_count(net), "macs": mac_count(net, data.image)}
        rows.append({"id": f"n{number:03d}", "shape": shape.model_dump(mode="json"), **size,
                     **judgement(net, judged, settings.preprocess)})  # fmt: skip
    told = {"schema": 1, "split": settings.split, "n": len(judged), "subnets": rows}
    (work.out / "subnets.json").write_text(json.dumps(told, indent=1), "utf-8")


def run_scores(settings: ScoreSubnets, inputs: Mapping[str, Artifact], work: Work) -> None:
    image = Dataset(inputs["data"]).image
    rows = [
        {
            "id": row["id"],
            "shape": row["shape"],
            "scores": {"held-out": -row["loss"], "params": row["params"], "macs": row["macs"]},
        }
        for row in inputs["subnets"].json("subnets.json")["subnets"]
    ]
    teacher = inputs["teacher"].json("size.json") if settings.teacher is None else size_of(settings.teacher, image)
    answer = {"schema": 1, "teacher": teacher, "image": image, "candidates": rows}
    (work.out / "scores.json").write_text(json.dumps(answer, indent=1), "utf-8")


def size_of(shape: NetShape, image: tuple[int, int, int]) -> dict[str, int]:
    net = checkpoint.build(shape, ["a", "b"], image[0], seed=0).net
    return {"params": parameter_count(net), "macs": mac_count(net, image)}


def run_extract(settings: Extract, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.threads)
    model = extract(checkpoint.load(inputs["supernet"].path), settings.shape)
    estimate(model.net, seen(Dataset(inputs["data"]), settings.preprocess, settings.statistics))
    checkpoint.save(model, work.out)


def some(shapes: tuple[NetShape, ...], count: int, seed: int) -> list[NetShape]:
    """The first, the last, and of those between as many random ones as make `count`, in their order."""
    generator = torch.Generator().manual_seed(seed)
    between = 1 + torch.randperm(max(0, len(shapes) - 2), generator=generator)[: count - 2]
    return [shapes[number] for number in sorted({0, len(shapes) - 1, *between.tolist()})]


@torch.no_grad()
def estimate(net: nn.Module, batches: Iterable[Tensor]) -> None:
    """In place: the statistics of its batch norms, and nothing else, as the mean over batches [B, C, H, W]."""
    was = net.training
    net.train()
    with norms_anew(net):
        for x in batches:
            net(x)
    net.train(was)


def seen(data: Dataset, preprocess: Preprocess, settings: Statistics) -> Iterator[Tensor]:
    """Batches of training samples as they are."""
    train = data.split("train")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(settings.seed))
    for rows in order.split(settings.batch)[: settings.batches]:
        yield normalised(pixels(train, rows), preprocess).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def judgement(net: nn.Module, samples: Samples, preprocess: Preprocess) -> dict[str, float]:
    """The mean cross-entropy in nats, and how many are right."""
    labels = torch.from_numpy(samples.labels)
    each = torch.arange(len(labels)).split(BATCH)
    logits = torch.cat([net(normalised(pixels(samples, rows), preprocess)) for rows in each])
    right, value = int((logits.argmax(1) == labels).sum()), float(F.cross_entropy(logits, labels))
    return {"loss": value, "right": right, "accuracy_percent": 100 * right / len(labels)}
