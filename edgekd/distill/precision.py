"""Whether products in bfloat16 pay here: a few steps of the student both ways, from the same weights and samples."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F

from edgekd.data.dataset import Dataset
from edgekd.distill.stages import ChoosePrecision, TryPrecisions
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.train.batches import normalised, pixels
from edgekd.train.settings import Precision

RATE = 0.05


@dataclass(frozen=True)
class Tried:
    images_per_s: float  # the median over steps
    loss: float  # nats, the mean of the last quarter of the steps


def run(settings: TryPrecisions, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.threads)
    data = Dataset(inputs["data"])
    shape = NetShape.model_validate_json(inputs["student"].file("shape.json").read_text("utf-8"))
    kinds: tuple[Precision, ...] = ("float32", "bfloat16")
    found = {precision: asdict(tried(settings, data, shape, precision)) for precision in kinds}
    told = {"schema": 1, "tried": found, "threads": settings.threads}
    (work.out / "precisions.json").write_text(json.dumps(told, indent=1), "utf-8")


def run_choice(settings: ChoosePrecision, inputs: Mapping[str, Artifact], work: Work) -> None:
    found = inputs["precisions"].json("precisions.json")["tried"]
    chosen = choose(settings, *(Tried(**found[name]) for name in ("float32", "bfloat16")))
    told = {"schema": 1, "precision": chosen, "tried": found}
    (work.out / "decision.json").write_text(json.dumps(told, indent=1), "utf-8")


def choose(settings: ChoosePrecision, whole: Tried, half: Tried) -> Precision:
    """bfloat16 where it is clearly faster and learns no worse."""
    faster = half.images_per_s >= settings.faster * whole.images_per_s
    return "bfloat16" if faster and half.loss <= (1 + settings.worse) * whole.loss else "float32"


def tried(settings: TryPrecisions, data: Dataset, shape: NetShape, precision: Precision) -> Tried:
    """Cross-entropy on the first samples, over and over: what it learns tells the arithmetic, and no accuracy."""
    samples = data.split("train")
    rows = torch.arange(min(settings.batch, len(samples)))
    x = normalised(pixels(samples, rows), settings.preprocess).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(samples.labels)[rows]
    net = checkpoint.build(shape, data.labels, data.image[0], seed=0).net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9, nesterov=True)
    seconds, losses = [], []
    for _ in range(settings.steps):
        begun = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = F.cross_entropy(net(x), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        seconds.append(time.perf_counter() - begun)
    quarter = max(1, settings.steps // 4)
    return Tried(len(rows) / statistics.median(seconds[2:]), statistics.fmean(losses[-quarter:]))
