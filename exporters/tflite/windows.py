"""Operators that slide a window: convolutions and pools, and the padding in which ONNX and TFLite differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgekd.exporters.tflite.flatbuffer import BUILTIN, OPTIONS, Tensor
from edgekd.exporters.tflite.qdq import attributes, lacks
from edgekd.exporters.tflite.translate import Out, Translator, constant_int32

ACTIVATIONS = {
    None: schema.ActivationFunctionType.NONE,
    "Relu": schema.ActivationFunctionType.RELU,
    "Relu6": schema.ActivationFunctionType.RELU6,
}
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
LOWEST = np.iinfo(np.int8).min


def conv(t: Translator, node: onnx.NodeProto, out: Out) -> Tensor:
    """Weights [O, I/g, kh, kw] become OHWI, or 1HWO for depthwise ones."""
    told = attributes(node)
    weight = t.qdq.weight(node, node.input[1])
    channels, per_group, *kernel = weight.values.shape
    x = t.value(node, node.input[0])
    group = told.get("group", 1)
    depthwise = group > 1
    if len(kernel) != 2 or weight.axis not in (0, 1) or (len(weight.scale) > 1 and weight.axis != 0):
        raise lacks(node, "only two-dimensional convolutions with a scale an output channel are known")
    if depthwise and (per_group != 1 or group != x.shape[3]):
        raise lacks(node, f"{group} groups of {per_group} channels; TFLite knows none, or one a channel")
    strides, dilations = told.get("strides", [1, 1]), told.get("dilations", [1, 1])
    x, padding, size = _window(t, node, x, kernel, strides, dilations)
    axes, channel_axis = ((1, 2, 3, 0), 3) if depthwise else ((0, 2, 3, 1), 0)
    scale = np.broadcast_to(weight.scale, (channels,))
    w = t.builder.constant(f"{out.name}.weight", weight.values.transpose(axes), scale, channel_axis)
    b = bias(t, node, out.name, scale * scale_of(x), channels)
    made = t.builder.activation(out.name, (1, *size, channels), out.quant)
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding, (options.strideH, options.strideW) = padding, strides
    options.dilationHFactor, options.dilationWFactor = dilations
    options.fusedActivationFunction = ACTIVATIONS[out.fused]
    if depthwise:
        options.depthMultiplier = channels // group
        t.builder.operator(BUILTIN.DEPTHWISE_CONV_2D, 3, [x, w, b], [made], (OPTIONS.DepthwiseConv2DOptions, options))
    else:
        t.builder.operator(BUILTIN.CONV_2D, 3, [x, w, b], [made], (OPTIONS.Conv2DOptions, options))
    return made


def max_pool(t: Translator, node: onnx.NodeProto, out: Out) -> Tensor:
    return _pool(t, node, out, BUILTIN.MAX_POOL_2D, fill=LOWEST)


def average_pool(t: Translator, node: onnx.NodeProto, out: Out) -> Tensor:
    told = attributes(node)
    counted = bool(told.get("count_include_pad", 0))
    return _pool(t, node, out, BUILTIN.AVERAGE_POOL_2D, fill=None, counted=counted)


def padded(t: Translator, x: Tensor, name: str, amounts: Sequence[Sequence[int]], fill: int | None = None) -> Tensor:
    """`amounts` [axes, 2] in TFLite's order; with real zero, or with the integer `fill`."""
    shape = tuple(size + int(a) + int(b) for size, (a, b) in zip(x.shape, amounts, strict=True))
    made = t.builder.activation(name, shape, x.quant)
    how = constant_int32(t, f"{name}.amounts", np.asarray(amounts))
    if fill is None:
        t.builder.operator(BUILTIN.PAD, 2, [x, how], [made], (OPTIONS.PadOptions, schema.PadOptionsT()))
    else:
        assert x.quant is not None
        value = t.builder.constant(f"{name}.fill", np.array([fill], np.int8), np.array([x.quant.scale]))
        t.builder.zero_point(value, x.quant.zero_point)
        t.builder.operator(BUILTIN.PADV2, 2, [x, how, value], [made], (OPTIONS.PadV2Options, schema.PadV2OptionsT()))
    return made


def _window(
    t: Translator, node: onnx.NodeProto, x: Tensor, kernel: Sequence[int], strides: Sequence[int],
    dilations: Sequence[int], fill: int | None = None,
) -> tuple[Tensor, int, tuple[int, int]]:  # fmt: skip
    """The input, padded where TFLite's SAME would pad otherwise, the padding that is left, the size that comes out."""
    told = attributes(node)
    if told.get("auto_pad", b"NOTSET") != b"NOTSET" or told.get("ceil_mode", 0):
        raise lacks(node, "auto_pad and ceil_mode are not known; export with explicit pads")
    pads = told.get("pads", [0] * 4)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if any(pads):
        wanted = [_same(size, r, s) for size, r, s in zip(x.shape[1:3], reach, strides, strict=True)]
        if wanted == [(pads[0], pads[2]), (pads[1], pads[3])]:
            rows, columns = (-(-size // s) for size, s in zip(x.shape[1:3], strides, strict=True))
            return x, SAME, (rows, columns)
        around = [(0, 0), (pads[0], pads[2]), (pads[1], pads[3]), (0, 0)]
        x = padded(t, x, f"{node.output[0]}.padded", around, fill)
    rows, columns = ((size - r) // s + 1 for size, r, s in zip(x.shape[1:3], reach, strides, strict=True))
    return x, VALID, (rows, columns)


def _same(size: int, reach: int, stride: int) -> tuple[int, int]:
    """Before and after, as TFLite's SAME pads: the odd one comes after."""
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def _pool(
    t: Translator, node: onnx.NodeProto, out: Out, code: int, *, fill: int | None, counted: bool = False
) -> Tensor:
    """Pools keep the scale of what they read; another one comes after."""
    told = attributes(node)
    kernel, strides = told["kernel_shape"], told.get("strides", [1, 1])
    x = t.value(node, node.input[0])
    x, padding, size = _window(t, node, x, kernel, strides, [1, 1], fill)
    average = code == BUILTIN.AVERAGE_POOL_2D
    if average and any(told.get("pads", [])) and counted is (padding == SAME):
        raise lacks(node, "its padding is counted otherwise than TFLite counts it")
    made = t.builder.activation(f"{out.name}.pooled", (1, *size, x.shape[3]), x.quant)
    options = schema.Pool2DOptionsT()
    options.padding, (options.filterHeight, options.filterWidth) = padding, kernel
    options.strideH, options.strideW = strides
    t.builder.operator(code, 2, [x], [made], (OPTIONS.Pool2DOptions, options))
    return t.requantised(made, out.name, out.quant)


def bias(t: Translator, node: onnx.NodeProto, name: str, scale: Any, size: int) -> Tensor:
    values = t.qdq.bias(node, 2, np.asarray(scale, np.float64))
    return t.builder.constant(f"{name}.bias", np.zeros(size, np.int32) if values is None else values, np.asarray(scale))


def scale_of(tensor: Tensor) -> float:
    assert tensor.quant is not None
    return tensor.quant.scale
