"""Quantisation-aware training with the teacher still on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torchao.quantization.pt2e as pt2e
from torch import Tensor
from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e

from edgekd.data.dataset import Dataset
from edgekd.deploy import hub
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.models import checkpoint
from edgekd.quant.ptq import finished, trace
from edgekd.quant.quantizer import DialectQuantizer
from edgekd.quant.stages import Qat
from edgekd.train.batches import views_of
from edgekd.train.loop import fit
from edgekd.train.losses.logits import weighted


def run(settings: Qat, inputs: Mapping[str, Artifact], work: Work) -> None:
    data = Dataset(inputs["data"])
    teacher = checkpoint.net_of(inputs["teacher"].path)
    student = checkpoint.net_of(inputs["student"].path).train()
    checkpoint.contiguous(student)
    prepared = prepare_qat_pt2e(trace(student, data.image), DialectQuantizer(settings.dialect, training=True))
    pt2e.move_exported_model_to_train(prepared)

    def objective(x: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            targets = teacher(x)
        return weighted(settings.losses, prepared(x), targets, labels)

    def before_epoch(epoch: int) -> None:
        if epoch >= settings.freeze_from * settings.train.epochs:
            prepared.apply(pt2e.disable_observer)

    train = data.split("train")
    batches = views_of(train, settings.preprocess, settings.views, settings.train.batch)
    fit(prepared, batches, len(train), objective, settings.train, work.scratch, work.progress,
        before_epoch=before_epoch)  # fmt: skip
    prepared.apply(pt2e.disable_observer)
    pt2e.move_exported_model_to_eval(prepared)
    hub.write(finished(prepared), data, settings.preprocess, work.out)
