"""Train the chosen student on the teacher's answers to the views that it sees itself."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from edgekd.data.dataset import Dataset
from edgekd.distill.stages import DistillFloat
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.teacher.answers import answers_of
from edgekd.train.batches import views_of
from edgekd.train.loop import fit
from edgekd.train.losses.logits import weighted


def run(settings: DistillFloat, inputs: Mapping[str, Artifact], work: Work) -> None:
    data = Dataset(inputs["data"])
    shape = NetShape.model_validate_json(inputs["student"].file("shape.json").read_text("utf-8"))
    model = checkpoint.build(shape, data.labels, data.image[0], settings.train.seed)
    net, train = model.net.train(), data.split("train")
    teacher = answers_of(inputs["teacher"].path)

    def objective(x: Tensor, labels: Tensor) -> Tensor:
        return weighted(settings.losses, net(x), teacher(x), labels)

    batches = views_of(train, settings.preprocess, settings.views, settings.train.batch, len(data.labels))
    fit(net, batches, len(train), objective, settings.train, work.scratch, work.progress)
    checkpoint.save(model, work.out)
