"""A PT2E quantizer whose Q/DQ placement follows a dialect, so that the runtime fuses all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torchao.quantization.pt2e import (
    FakeQuantize,
    FusedMovingAvgObsFakeQuantize,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    PerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)

from edgekd.hardware.dialect import Dialect
from edgekd.quant.clipping import ClippedChannels

aten = torch.ops.aten
WEIGHTED = {aten.conv2d.default, aten.conv1d.default, aten.linear.default}
PRODUCTS = {aten.matmul.default, aten.bmm.default}
ELEMENTWISE = {aten.add.Tensor, aten.add_.Tensor, aten.mul.Tensor, aten.mul_.Tensor}
NORMS = {aten.batch_norm.default}
RELUS = {
    aten.relu.default, aten.relu_.default, aten.hardtanh.default, aten.hardtanh_.default, aten.relu6.default,
    aten.relu6_.default,
}  # fmt: skip
# kernels of their own between Q and DQ: TFLite has no float in between
CURVES = {aten.hardswish.default, aten.hardswish_.default, aten.sigmoid.default}
# the output of these has the scale of its input; runtimes fuse them only when it is quantised again
POOLS = {aten.mean.dim, aten.adaptive_avg_pool2d.default, aten.avg_pool2d.default}
# and these only move or pick numbers: one scale for both sides, or the runtime converts where nothing is computed
MOVES = {
    aten.max_pool2d.default, aten.slice.Tensor, aten.constant_pad_nd.default, aten.pad.default,
}  # fmt: skip
JOINS = {aten.cat.default, aten.concat.default}
TOKEN_NORMS = {
    aten.layer_norm.default, aten.native_layer_norm.default, aten.rms_norm.default, aten.rsqrt.default,
}  # fmt: skip
KEY = "quantization_annotation"
EPS = 2**-12
FEW = 6  # bits: below, training clips weights that are rare


class DialectQuantizer(Quantizer):  # type: ignore[misc]
    """
    Annotates a torch.export graph: convolutions, linear layers, additions and gates, pooling, concatenation, slices.

    A convolution is taken together with the batch norm and the ReLU behind it: one integer kernel. Where the dialect
    says so the last layer's logits stay float, so that their scale costs no accuracy; and in nets that norm tokens only
    what goes into matrix products is quantised, since CPUs lose more to Q and DQ in between than integers gain.
    `training` observes moving averages and quantises on the way (QAT); otherwise the ranges of calibration are taken
    whole (PTQ, min-max).
    """

    def __init__(self, dialect: Dialect, *, training: bool) -> None:
        super().__init__()
        self.dialect = dialect
        self.activation = _activation(dialect, training=training)
        self.weight = _weight(dialect, training=training)
        self.products_only = False

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        normed = any(node.target in TOKEN_NORMS for node in model.graph.nodes)
        self.products_only = normed and self.dialect.between_products == "float"
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
        if node.target in PRODUCTS:
            return self._all(node.args[:2])
        if self.products_only:
            return {}
        if node.target in ELEMENTWISE:
            return self._all(node.args[:2])
        if node.target in JOINS:
            return self._all(node.args[0])
        if node.target in POOLS | CURVES | MOVES:
            return self._all(node.args[:1])
        return {}

    def _all(self, arguments: Any) -> dict[fx.Node, QuantizationSpec]:
        """Every argument quantised, or none where one is no float tensor."""
        return dict.fromkeys(arguments, self.activation) if all(map(_is_float_tensor, arguments)) else {}

    def _annotate(self, node: fx.Node, inputs: dict[fx.Node, QuantizationSpec]) -> None:
        last = node
        if node.target in WEIGHTED:
            last = _follow(last, NORMS)
        if node.target not in POOLS | CURVES | MOVES:
            last = _follow(last, RELUS)
        inner = node
        while inner is not last:
            inner.meta[KEY] = QuantizationAnnotation(_annotated=True)
            inner = next(iter(inner.users))
        last.meta[KEY] = QuantizationAnnotation(output_qspec=self._output(node, last), _annotated=True)
        node.meta[KEY].input_qspec_map = inputs

    def _output(self, node: fx.Node, last: fx.Node) -> Any:
        if self.products_only or (self.dialect.logits == "float" and _is_output(last)):
            return None
        if node.target in MOVES:
            return SharedQuantizationSpec((node.args[0], node))
        return self.activation


def _follow(node: fx.Node, targets: set[Any]) -> fx.Node:
    """The only user of `node` if it is one of `targets`, else `node`."""
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].target in targets else node


def _is_output(node: fx.Node) -> bool:
    return any(user.op == "output" for user in node.users)


def _is_float_tensor(argument: object) -> bool:
    value = argument.meta.get("val") if isinstance(argument, fx.Node) else None
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 0


def _activation(dialect: Dialect, *, training: bool) -> QuantizationSpec:
    low, high = dialect.activation_limits
    symmetric = dialect.activation == "int8-symmetric"
    return QuantizationSpec(
        dtype=torch.uint8 if dialect.activation == "uint8-affine" else torch.int8,
        quant_min=low,
        quant_max=high,
        qscheme=torch.per_tensor_symmetric if symmetric else torch.per_tensor_affine,
        observer_or_fake_quant_ctr=_observer(training, MovingAverageMinMaxObserver, MinMaxObserver),
    )


def _weight(dialect: Dialect, *, training: bool) -> QuantizationSpec:
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-dialect.weight_max,
        quant_max=dialect.weight_max,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=_observer(
            training,
            MovingAveragePerChannelMinMaxObserver,
            PerChannelMinMaxObserver,
            clipped=ClippedChannels if dialect.weight_bits < FEW else None,
        ),
    )


def _observer(training: bool, moving: type, whole: type, clipped: type | None = None) -> Callable[..., Any]:
    if training and clipped is not None:
        return FakeQuantize.with_args(eps=EPS, observer=clipped)  # type: ignore[no-any-return]
    if training:
        return FusedMovingAvgObsFakeQuantize.with_args(eps=EPS, observer=moving)  # type: ignore[no-any-return]
    return whole.with_args(eps=EPS)  # type: ignore[attr-defined, no-any-return]
