"""Train a teacher on the labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from edgekd.data.dataset import Dataset
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.models import checkpoint
from edgekd.teacher.stages import TrainTeacher
from edgekd.train import crew
from edgekd.train.batches import views_of
from edgekd.train.loop import Batch, fit


def run(settings: TrainTeacher, inputs: Mapping[str, Artifact], work: Work) -> None:
    if settings.train.processes > 1 and not crew.is_member():
        crew.together(run, settings, inputs, work, settings.train.processes)
        return
    data = Dataset(inputs["data"])
    model = checkpoint.build(settings.shape, data.labels, data.image[0], settings.train.seed)
    net, train = model.net.train(), data.split("train")

    def objective(batch: Batch) -> Tensor:
        return F.cross_entropy(net(batch.x), batch.labels, label_smoothing=settings.train.label_smoothing)

    batches = views_of(train, settings.preprocess, settings.views, settings.train.batch, len(data.labels))
    fit(net, batches, len(train), objective, settings.train, work.scratch, work.progress)
    checkpoint.save(model, work.out)
