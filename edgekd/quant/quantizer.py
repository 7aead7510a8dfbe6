"""A PT2E quantizer whose Q/DQ placement follows a dialect, so that the runtime fuses all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torchao.quantization.pt2e import (
    FusedMovingAvgObsFakeQuantize,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    PerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, QuantizationSpec, Quantizer

from edgekd.hardware.dialect import Dialect

aten = torch.ops.aten
WEIGHTED = {aten.conv2d.default, aten.linear.default}
ADDITIONS = {aten.add.Tensor, aten.add_.Tensor}
NORMS = {aten.batch_norm.default}
RELUS = {aten.relu.default, aten.relu_.default}
# the output of these has the scale of its input; runtimes fuse them only when it is quantised again
POOLS = {aten.mean.dim, aten.adaptive_avg_pool2d.default, aten.avg_pool2d.default, aten.max_pool2d.default}
KEY = "quantization_annotation"
EPS = 2**-12


class DialectQuantizer(Quantizer):  # type: ignore[misc]
    """
    Annotates convolutions, linear layers, residual additions and pooling of a torch.export graph.

    A convolution is taken together with the batch norm and the ReLU behind it: one integer kernel. The last
    layer's logits stay float, so that their scale costs no accuracy. `training` observes moving averages and
    quantises on the way (QAT); otherwise the ranges of calibration are taken whole (PTQ, min-max).
    """

    def __init__(self, dialect: Dialect, *, training: bool) -> None:
        super().__init__()
        self.activation = _activation(dialect, training=training)
        self.weight = _weight(dialect, training=training)

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        for node in model.graph.nodes:
            if node.op == "call_function" and KEY not in node.meta and (inputs := self._inputs(node)):
                self._annotate(node, inputs)
        return model

    def validate(self, model: fx.GraphModule) -> None:
        pass

    def _inputs(self, node: fx.Node) -> dict[fx.Node, QuantizationSpec]:
        """Which inputs of this node are quantised, and how; empty for what stays float."""
        if node.target in WEIGHTED:
            return {node.args[0]: self.activation, node.args[1]: self.weight}  # type: ignore[dict-item]
        if node.target in ADDITIONS and all(_is_float_tensor(a) for a in node.args[:2]):
            return dict.fromkeys(node.args[:2], self.activation)
        if node.target in POOLS:
            return {node.args[0]: self.activation}  # type: ignore[dict-item]
        return {}

    def _annotate(self, node: fx.Node, inputs: dict[fx.Node, QuantizationSpec]) -> None:
        last = node
        if node.target in WEIGHTED:
            last = _follow(last, NORMS)
        last = _follow(last, RELUS)
        output = None if any(user.op == "output" for user in last.users) else self.activation
        inner = node
        while inner is not last:
            inner.meta[KEY] = QuantizationAnnotation(_annotated=True)
            inner = next(iter(inner.users))
        last.meta[KEY] = QuantizationAnnotation(output_qspec=output, _annotated=True)
        node.meta[KEY].input_qspec_map = inputs


def _follow(node: fx.Node, targets: set[Any]) -> fx.Node:
    """The only user of `node` if it is one of `targets`, else `node`."""
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].target in targets else node


def _is_float_tensor(argument: object) -> bool:
    value = argument.meta.get("val") if isinstance(argument, fx.Node) else None
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 0


def _activation(dialect: Dialect, *, training: bool) -> QuantizationSpec:
    signed = dialect.activation == "int8-symmetric"
    return QuantizationSpec(
        dtype=torch.int8 if signed else torch.uint8,
        quant_min=-128 if signed else 0,
        quant_max=127 if signed else 255,
        qscheme=torch.per_tensor_symmetric if signed else torch.per_tensor_affine,
        observer_or_fake_quant_ctr=_observer(training, MovingAverageMinMaxObserver, MinMaxObserver),
    )


def _weight(dialect: Dialect, *, training: bool) -> QuantizationSpec:
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-dialect.weight_max,
        quant_max=dialect.weight_max,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=_observer(training, MovingAveragePerChannelMinMaxObserver, PerChannelMinMaxObserver),
    )


def _observer(training: bool, moving: type, whole: type) -> Callable[..., Any]:
    if training:
        return FusedMovingAvgObsFakeQuantize.with_args(eps=EPS, observer=moving)  # type: ignore[no-any-return]
    return whole.with_args(eps=EPS)  # type: ignore[attr-defined, no-any-return]
