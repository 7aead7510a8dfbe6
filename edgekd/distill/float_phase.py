"""Train the chosen student on the teacher's answers to the views that it sees itself."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgekd.data.dataset import Dataset, Samples
from edgekd.distill.stages import DistillFloat
from edgekd.distill.start import from_teacher
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.teacher.answers import answers_of
from edgekd.teacher.targets import bank_for
from edgekd.train.bank import kept_views
from edgekd.train.batches import views_of
from edgekd.train.loop import Batch, Batches, Objective, fit
from edgekd.train.losses.logits import weighted


def run(settings: DistillFloat, inputs: Mapping[str, Artifact], work: Work) -> None:
    data = Dataset(inputs["data"])
    shape = NetShape.model_validate_json(inputs["student"].file("shape.json").read_text("utf-8"))
    model = checkpoint.build(shape, data.labels, data.image[0], settings.train.seed)
    if settings.start == "teacher":
        taken = from_teacher(model, inputs["teacher"].path)
        work.progress.say(taken.sentence)
        (work.out / "start.json").write_text(json.dumps(taken.told(), indent=1), "utf-8")
    net, train = model.net.train(), data.split("train")
    batches = _batches(settings, inputs, train, len(data.labels))
    fit(net, batches, len(train), _objective(settings, inputs, net), settings.train, work.scratch, work.progress)
    checkpoint.save(model, work.out)


def _batches(settings: DistillFloat, inputs: Mapping[str, Artifact], train: Samples, classes: int) -> Batches:
    if "targets" not in inputs:
        return views_of(train, settings.preprocess, settings.views, settings.train.batch, classes)
    bank, kept = bank_for(inputs["targets"], inputs["data"], settings.views, settings.preprocess)
    return kept_views(bank, kept, settings.train.batch)


def _objective(settings: DistillFloat, inputs: Mapping[str, Artifact], net: nn.Module) -> Objective:
    """With targets that were kept, with a teacher that answers along, or with labels alone."""
    asked = any(loss.needs for loss in settings.losses)
    live = answers_of(inputs["teacher"].path) if asked and "targets" not in inputs else None

    def objective(batch: Batch) -> Tensor:
        said = batch.targets if live is None else live(batch.x)
        return weighted(settings.losses, net(batch.x), said, batch.labels)

    torch.set_num_threads(settings.train.threads)
    return objective
