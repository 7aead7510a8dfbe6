"""
Train a supernet, so that each of its sub-networks is a trained net.

Each step is one of the sandwich rule: Yu and Huang, "Universally slimmable networks and improved training techniques"
(2019), algorithm 1; or the nets of Valipour et al., "SortedNet" (2023), that chance picks, their gradients added up.
Sub-networks come in late and little by little: Annavajjala et al., "DepS: Delayed epsilon-shrinking for faster
once-for-all training" (2024), where each sub-network's learning rate is raised; here it is the weight of its loss,
which comes to the same as long as the norm of the gradient is not clipped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.data.dataset import Dataset
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.models import checkpoint
from edgekd.models.residual_cnn import ResidualCnnForImageClassification
from edgekd.models.shape import NetShape
from edgekd.search.supernets.nested import answer, sub_shapes
from edgekd.search.supernets.stages import Statistics, TrainSupernet
from edgekd.search.supernets.subnets import estimate, seen
from edgekd.teacher.answers import Answers, answers_of
from edgekd.teacher.targets import bank_for
from edgekd.teacher.teaching import right_on
from edgekd.train.bank import kept_views
from edgekd.train.batches import views_of
from edgekd.train.loop import Batch, Batches, fit
from edgekd.train.losses.divergences import kd


class Counter(nn.Module):
    """The steps that were taken: a snapshot brings them back."""

    taken: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))

    def next(self) -> int:
        step = int(self.taken)
        if torch.is_grad_enabled():  # batch norms that are estimated anew take no step
            self.taken += 1
        return step


def run(settings: TrainSupernet, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.train.threads_each)
    data = Dataset(inputs["data"])
    train, shapes = data.split("train"), sub_shapes(settings.shape, settings.nested)
    model = checkpoint.build(settings.shape, data.labels, data.image[0], settings.train.seed)
    net, counter = model.net.train(), Counter()
    steps = settings.train.epochs * math.ceil(len(train) / settings.train.batch)
    batches, teacher = _taught(settings, inputs)

    def objective(batch: Batch) -> Tensor:
        said = batch.targets if teacher is None else teacher(batch.x)
        step = counter.next()
        return loss(model, batch._replace(targets=said), picked(shapes, settings, step, steps), settings, step / steps)

    watch = fit(
        nn.ModuleDict({"net": net, "counter": counter}), batches, len(train), objective, settings.train, work.scratch,
        work.progress, right=right_on(net, data.split("val"), settings.preprocess) if settings.train.looks else None,
    )  # fmt: skip
    estimate(net, seen(data, settings.preprocess, Statistics()))  # the rule may have left the largest net out for long
    checkpoint.save(model, work.out)
    (work.out / "training.json").write_text(json.dumps({"sub_networks": len(shapes)} | watch.told(), indent=1), "utf-8")


def picked(shapes: Sequence[NetShape], settings: TrainSupernet, step: int, steps: int) -> list[NetShape]:
    """The nets of a step, the same for the same seed and step. `shapes` are sorted, the supernet last."""
    if step < settings.shrink_from * steps:
        return [shapes[-1]]
    generator = torch.Generator().manual_seed(settings.train.seed * 1_000_003 + step)
    others = [shapes[number] for number in torch.randint(len(shapes), (settings.others,), generator=generator).tolist()]
    return others if settings.rule == "random" else [shapes[-1], shapes[0], *others]


def raised(settings: TrainSupernet, done: float) -> float:
    """The weight of a sub-network's loss after a share `done` of the steps."""
    since = done - settings.shrink_from
    return min(1.0, since / settings.raised_over) if settings.raised_over else 1.0


def loss(
    model: ResidualCnnForImageClassification, batch: Batch, nets: Sequence[NetShape], settings: TrainSupernet,
    done: float,
) -> Tensor:  # fmt: skip
    """The sum over the nets. Where no teacher speaks, the largest net teaches those after it: in-place distillation."""
    total, said = batch.x.new_zeros(()), batch.targets
    for shape in nets:
        whole = shape == settings.shape
        logits = model.net(batch.x) if whole else answer(model, shape, batch.x)
        value = F.cross_entropy(logits, batch.labels)
        if said is not None:
            value = torch.lerp(value, kd(logits, said, settings.temperature), settings.taught)
        elif whole:
            said = logits.detach()
        total = total + (1.0 if whole else raised(settings, done)) * value
    return total


def _taught(settings: TrainSupernet, inputs: Mapping[str, Artifact]) -> tuple[Batches, Answers | None]:
    """Batches, and the teacher where its answers do not come with them."""
    data, views = Dataset(inputs["data"]), settings.views
    if "targets" in inputs:
        bank, kept = bank_for(inputs["targets"], inputs["data"], views, settings.preprocess)
        return kept_views(bank, kept, settings.train.batch), None
    teacher = answers_of(inputs["teacher"].path) if "teacher" in inputs else None
    batches = views_of(data.split("train"), settings.preprocess, views, settings.train.batch, len(data.labels), teacher)
    return batches, teacher
