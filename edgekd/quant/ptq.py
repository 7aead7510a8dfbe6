"""Post-training quantisation through PT2E: calibrate, convert, export."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgekd.data.dataset import Dataset, preprocess
from edgekd.data.stages import Preprocess
from edgekd.deploy import hub
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.hardware.dialect import Dialect
from edgekd.models import checkpoint
from edgekd.quant.quantizer import DialectQuantizer
from edgekd.quant.stages import Ptq
from edgekd.sparse import proof

CALIBRATION_BATCH = 64


def run(settings: Ptq, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.threads)
    data = Dataset(inputs["data"])
    net = checkpoint.net_of(inputs["checkpoint"].path)
    quantised = quantise(net, data, settings.dialect, settings.preprocess, settings.calibration_images)
    hub.write(quantised, data, settings.preprocess, work.out, floats=net.eval())
    if settings.sparsity is not None:
        proof.leave(work.out, settings.sparsity)


def quantise(net: nn.Module, data: Dataset, dialect: Dialect, settings: Preprocess, images: int) -> fx.GraphModule:
    """The net as integers with their scales, its ranges those of the first `images` training images."""
    checkpoint.contiguous(net)
    x = torch.from_numpy(preprocess(data.split("train").images[:images], settings))
    return calibrated(net, dialect, x)


def calibrated(net: nn.Module, dialect: Dialect, x: Tensor) -> fx.GraphModule:
    """The net, in evaluation mode, with the ranges that x [N, C, H, W] makes."""
    channels, height, width = x.shape[1:]
    prepared = prepare_pt2e(trace(net, (channels, height, width)), DialectQuantizer(dialect, training=False))
    with torch.no_grad():
        for batch in x.split(CALIBRATION_BATCH):
            prepared(batch)
    return convert_pt2e(prepared)  # type: ignore[no-any-return]


def trace(net: nn.Module, image: tuple[int, int, int]) -> fx.GraphModule:
    """The graph that PT2E works on, its batch free."""
    example = torch.zeros(4, *image)
    batch = torch.export.Dim("batch", min=2)
    return torch.export.export(net, (example,), dynamic_shapes=({0: batch},)).module()
