"""Quantisation-aware training with the teacher still on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torchao.quantization.pt2e as pt2e
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_flatten
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_qat_pt2e

from edgekd.data.dataset import Dataset
from edgekd.deploy import hub
from edgekd.engine.events import Progress
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.hardware.dialect import Dialect
from edgekd.models import checkpoint
from edgekd.models.blocks import Projection
from edgekd.quant.ptq import trace
from edgekd.quant.quantizer import DialectQuantizer
from edgekd.quant.stages import Freezing, Qat
from edgekd.sparse import proof
from edgekd.sparse.holding import kept_zeros
from edgekd.teacher.answers import answers_of
from edgekd.teacher.teaching import teaching, with_outputs
from edgekd.train.batches import views_of
from edgekd.train.loop import Batch, Batches, fit
from edgekd.train.settings import Training

Objective = Callable[[nn.Module, Batch], Tensor]  # of the net under quantisation and a batch: the loss
aten = torch.ops.aten
TRAINS = 5  # the argument of aten.batch_norm that says whether it takes the batch's statistics


def run(settings: Qat, inputs: Mapping[str, Artifact], work: Work) -> None:
    data = Dataset(inputs["data"])
    student = checkpoint.load(inputs["student"].path).net.train()
    checkpoint.contiguous(student)
    train = data.split("train")
    lessons = teaching(
        settings.losses, inputs["teacher"].path, student, data.image, len(data.labels),
        settings.train.epochs * math.ceil(len(train) / settings.train.batch), seed=settings.train.seed,
    )  # fmt: skip
    doubting = answers_of(inputs["teacher"].path) if settings.views.pick > 1 else None
    batches = views_of(train, settings.preprocess, settings.views, settings.train.batch, len(data.labels), doubting)
    few = any(isinstance(layer, Projection) and layer.in_channels < 8 for layer in student.modules())  # see there
    quantised = trained(
        with_outputs(student, lessons.names).train(), data.image, settings.dialect, batches, len(train),
        lambda net, batch: lessons.loss(net(batch.x.contiguous() if few else batch.x), batch), settings.train,
        settings.freezing, work.scratch, work.progress, lesson=lessons.lesson, sparse=settings.sparsity is not None,
    )  # fmt: skip
    hub.write(quantised, data, settings.preprocess, work.out)
    if settings.sparsity is not None:
        proof.leave(work.out, settings.sparsity)


def trained(
    net: nn.Module,
    image: tuple[int, int, int],
    dialect: Dialect,
    batches: Batches,
    samples: int,
    objective: Objective,
    training: Training,
    freezing: Freezing,
    scratch: Path,
    progress: Progress,
    lesson: nn.Module | None = None,
    *,
    sparse: bool = False,
) -> fx.GraphModule:
    """
    `net`, in training mode and with its float weights, trained under fake quantisation; integers with their scales.
    Of several outputs the first one stays; `lesson` is trained along and dropped. With `sparse` its zeros stay.

    First ranges and batch norms follow the data, then the norms stand, then the ranges: what is exported has both
    fixed, and the last epochs are trained as it will run (Krishnamoorthi, "Quantizing deep convolutional networks
    for efficient inference: a whitepaper", 2018, section 3.2).
    """
    prepared = prepare_qat_pt2e(trace(net, image), DialectQuantizer(dialect, training=True))
    pt2e.move_exported_model_to_train(prepared)

    def before_epoch(epoch: int) -> None:
        if epoch >= math.ceil(freezing.ranges_from * training.epochs):
            prepared.apply(pt2e.disable_observer)
        if epoch >= math.ceil(freezing.norms_from * training.epochs):
            freeze_norms(prepared)

    whole = nn.ModuleDict({"net": prepared, **({"lesson": lesson} if lesson is not None else {})})
    zeros = kept_zeros(prepared) if sparse else None
    if zeros is not None:
        whole["zeros"] = zeros
    fit(whole, batches, samples, lambda batch: objective(prepared, batch), training, scratch, progress,
        before_epoch=before_epoch, attach=zeros.attach if zeros is not None else None)  # fmt: skip
    if zeros is not None:
        zeros.hold()
    logits_alone(prepared)
    prepared.apply(pt2e.disable_observer)
    pt2e.move_exported_model_to_eval(prepared)
    return convert_pt2e(prepared)  # type: ignore[no-any-return]


def logits_alone(graph: fx.GraphModule) -> None:
    """In place: features that losses asked for are no outputs any more, and what made them alone goes."""
    (last,) = (node for node in graph.graph.nodes if node.op == "output")
    answers = last.args[0]
    if not isinstance(answers, (tuple, list)) or len(answers) == 1:
        return
    last.args = ((answers[0],),)
    code: Any = graph.graph._codegen
    code.pytree_info = code.pytree_info._replace(out_spec=tree_flatten(0)[1])  # one leaf
    graph.graph.eliminate_dead_code()
    graph.recompile()


def freeze_norms(prepared: fx.GraphModule) -> None:
    """In place: batch norms use their running statistics and leave them as they are; their weights train on."""
    for node in prepared.graph.nodes:
        if node.target is aten.batch_norm.default and node.args[TRAINS]:
            node.update_arg(TRAINS, False)
    prepared.recompile()
