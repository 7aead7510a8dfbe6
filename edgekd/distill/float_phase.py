"""Train the chosen student on the teacher's answers to the views that it sees itself."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.data.dataset import Dataset, Samples, with_unlabelled
from edgekd.data.tensors import mapped
from edgekd.data.unlabelled import FILE
from edgekd.distill.calibrate import calibrate
from edgekd.distill.stages import DistillFloat
from edgekd.distill.start import CannotStartError, from_teacher
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError
from edgekd.models import checkpoint, foreign
from edgekd.models.foreign import Answering
from edgekd.models.residual_cnn import ResidualCnnForImageClassification
from edgekd.models.shape import NetShape
from edgekd.sparse.holding import Masks, sparsifiable
from edgekd.sparse.plans import Sparsity
from edgekd.teacher.answers import answers_of
from edgekd.teacher.targets import about_targets, bank_for
from edgekd.teacher.teaching import right_on, teaching, unlike, with_outputs
from edgekd.train import crew
from edgekd.train.bank import kept_views
from edgekd.train.batches import normalised, pixels, views_of
from edgekd.train.loop import Batch, Batches, fit

FIRST = {"supernet": "its part of the supernet", "pruned": "what is left of its teacher"}


def run(settings: DistillFloat, inputs: Mapping[str, Artifact], work: Work) -> None:
    if settings.train.processes > 1 and not crew.is_member():
        crew.together(run, settings, inputs, work, settings.train.processes)
        return
    torch.set_num_threads(settings.train.threads_each)
    data = Dataset(inputs["data"])
    train = data.split("train")
    some = part(len(train), settings)
    if some is not None:
        train = Samples(train.images[some.numpy()], train.labels[some.numpy()])
    if "unlabelled" in inputs:
        train = with_unlabelled(train, mapped(inputs["unlabelled"].file(FILE))["images"])
    told: dict[str, Any] = {"schema": 1, "start": None}
    model: ResidualCnnForImageClassification | Answering
    if "student" in inputs:
        model = built(settings, inputs, data)
        told["start"] = started(model, settings, inputs, work)
        net: nn.Module = model.net.train()
    else:
        net = model = of_another_family(inputs["first"])
    if "first" in inputs:
        told["first"] = source_of(inputs["first"])
    if "targets" in inputs:
        told["targets"] = about_targets(inputs["targets"])
    master = inputs.get("teacher")
    lessons = teaching(
        settings.losses, master.path if master else None, net, data.image, len(data.labels),
        settings.train.epochs * math.ceil(len(train) / settings.train.batch), kept="targets" in inputs,
        seed=settings.train.seed,
    )  # fmt: skip
    for sentence in unlike(lessons, net, normalised(pixels(train, torch.arange(min(256, len(train)))),
                                                    settings.preprocess), master.path if master else None):  # fmt: skip
        work.progress.warn(f"warning: {sentence}")
    student = with_outputs(net, lessons.names)

    def objective(batch: Batch) -> Tensor:
        return lessons.loss(student(batch.x), batch)

    steps = settings.train.epochs * math.ceil(len(train) / settings.train.batch)
    plan = settings.train
    if settings.sparsity is not None and settings.sparsity.schedule == "rewind":
        plan = plan.model_copy(update={"cycles": settings.sparsity.rounds + 1})
    masks = masks_of(net, settings.sparsity, steps) if settings.sparsity else None
    watch = fit(
        nn.ModuleDict({"net": net, "lesson": lessons.lesson, **({"masks": masks} if masks else {})}),
        _batches(settings, inputs, train, some), len(train), objective, plan, work.scratch, work.progress,
        right=right_on(net, data.split("val"), settings.preprocess) if settings.train.looks else None,
        attach=masks.attach if masks else None,
    )  # fmt: skip
    if masks is not None and settings.sparsity is not None:
        masks.hold()  # an average of weights has zeros only where all had them
        told["sparsity"] = masks.told() | {"dense": dense_of(net, settings.sparsity)}
    if settings.calibrate and not isinstance(model, Answering):
        told["temperature"] = calibrate(model.net, data.split("val"), settings.preprocess)
    if isinstance(model, Answering):
        foreign.save(model, inputs["first"].path, work.out)
    else:
        checkpoint.save(model, work.out)
    (work.out / "training.json").write_text(json.dumps(told | watch.told(), indent=1), "utf-8")


def built(settings: DistillFloat, inputs: Mapping[str, Artifact], data: Dataset) -> ResidualCnnForImageClassification:
    shape = NetShape.model_validate_json(inputs["student"].file("shape.json").read_text("utf-8"))
    if settings.dual_head is not None:
        shape = shape.model_copy(update={"dual_head": settings.dual_head})
    return checkpoint.build(shape, data.labels, data.image[0], settings.train.seed)


def of_another_family(first: Artifact) -> Answering:
    """It may flatten what it takes for granted: batches are made contiguous."""
    net = checkpoint.net_of(first.path)
    assert isinstance(net, Answering)
    net.register_forward_pre_hook(lambda _net, args: (args[0].contiguous(),))
    return net.train()


def masks_of(net: nn.Module, plan: Sparsity, steps: int) -> Masks:
    """Raises ConfigError where no layer can be as sparse as the plan says."""
    weights, dense = sparsifiable(net, plan)
    if not weights:
        (name, why), *_ = dense.items()
        raise ConfigError(f"sparsity: {plan}: no layer of the student can be: {name}: {why}; leave sparsity out")
    return Masks(weights, plan, steps, net)


def dense_of(net: nn.Module, plan: Sparsity) -> dict[str, str]:
    """The layers without zeros, and why."""
    return dict(sparsifiable(net, plan)[1])


def part(samples: int, settings: DistillFloat) -> Tensor | None:
    """The rows of a random share of the samples; None: all of them."""
    if settings.data_share == 1:
        return None
    generator = torch.Generator().manual_seed(settings.train.seed)
    return torch.randperm(samples, generator=generator)[: max(2, round(settings.data_share * samples))]


def started(
    model: ResidualCnnForImageClassification, settings: DistillFloat, inputs: Mapping[str, Artifact], work: Work
) -> dict[str, object] | None:
    """The student's first weights from the teacher, where that is wanted and goes; what was taken."""
    if "first" in inputs:
        model.load_state_dict(checkpoint.load(inputs["first"].path).state_dict())
        work.progress.say(f"the student starts from {FIRST[source_of(inputs['first'])]}")
        return None
    if settings.start == "fresh":
        return None
    try:
        taken = from_teacher(model, inputs["teacher"].path)
    except CannotStartError as error:
        if settings.start == "teacher":
            raise
        work.progress.say(f"the student starts with fresh weights: {error.why}")
        return None
    work.progress.say(taken.sentence)
    return taken.told()


def source_of(first: Artifact) -> str:
    return "pruned" if first.file("cut.json").is_file() else "supernet"


def _batches(settings: DistillFloat, inputs: Mapping[str, Artifact], train: Samples, some: Tensor | None) -> Batches:
    if "targets" not in inputs:
        classes = len(Dataset(inputs["data"]).labels)
        teacher = answers_of(inputs["teacher"].path) if settings.views.pick > 1 else None
        return views_of(train, settings.preprocess, settings.views, settings.train.batch, classes, teacher)
    bank, kept = bank_for(inputs["targets"], inputs["data"], settings.views, settings.preprocess)
    return kept_views(bank, kept, settings.train.batch, some)
