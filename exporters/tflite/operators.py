"""Each ONNX operator in TFLite's words. Padding, axis order and fixed scales are where the two differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgekd.exporters.tflite.flatbuffer import BUILTIN, OPTIONS, Tensor
from edgekd.exporters.tflite.qdq import Quant, attributes, lacks
from edgekd.exporters.tflite.translate import TO_NHWC, Mover, Operator, Out, Translator, constant_int32
from edgekd.exporters.tflite.windows import ACTIVATIONS, average_pool, bias, conv, max_pool, padded, scale_of

PROBABILITY = Quant(1 / 256, -128)  # what LOGISTIC and SOFTMAX give, whatever they are asked for


def fully_connected(t: Translator, node: onnx.NodeProto, out: Out) -> Tensor:
    """Gemm or MatMul with a constant right side."""
    told = attributes(node)
    if told.get("alpha", 1.0) != 1 or told.get("beta", 1.0) != 1 or told.get("transA", 0):
        raise lacks(node, "alpha, beta or transA are not as in a linear layer")
    weight = t.qdq.weight(node, node.input[1])
    turned = not told.get("transB", 0)
    values = weight.values.T if turned else weight.values  # [O, I]
    if len(weight.scale) > 1 and weight.axis != (1 if turned else 0):
        raise lacks(node, "its weight has a scale for each input and not for each output")
    x = t.value(node, node.input[0])
    if x.planes is not None:  # it was flattened from NHWC, and the weight was trained on NCHW
        planes, height, width = x.planes
        values = values.reshape(-1, planes, height, width).transpose(0, 2, 3, 1).reshape(len(values), -1)
    scale = np.broadcast_to(weight.scale, (len(values),)) if len(weight.scale) > 1 else weight.scale
    w = t.builder.constant(f"{out.name}.weight", np.ascontiguousarray(values), scale)
    b = bias(t, node, out.name, np.broadcast_to(scale, (len(values),)) * scale_of(x), len(values))
    made = t.builder.activation(out.name, (*x.shape[:-1], len(values)), out.quant)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = ACTIVATIONS[out.fused]
    version = 12 if len(scale) > 1 else 5
    t.builder.operator(BUILTIN.FULLY_CONNECTED, version, [x, w, b], [made], (OPTIONS.FullyConnectedOptions, options))
    return made


def add(t: Translator, node: onnx.NodeProto, out: Out) -> Tensor:
    return _binary(t, node, out, (BUILTIN.ADD, OPTIONS.AddOptions, schema.AddOptionsT()))


def mul(t: Translator, node: onnx.NodeProto, out: Out) -> Tensor:
    return _binary(t, node, out, (BUILTIN.MUL, OPTIONS.MulOptions, schema.MulOptionsT()))


def hard_swish(t: Translator, node: onnx.NodeProto, out: Out) -> Tensor:
    x = t.value(node, node.input[0])
    made = t.builder.activation(out.name, x.shape, out.quant)
    t.builder.operator(BUILTIN.HARD_SWISH, 1, [x], [made], (OPTIONS.HardSwishOptions, schema.HardSwishOptionsT()))
    return made


def mean(t: Translator, node: onnx.NodeProto, out: Out) -> Tensor:
    """GlobalAveragePool, or ReduceMean over height and width. A MEAN that keeps axes rounds half of them down."""
    told = attributes(node)
    keep = True
    if node.op_type == "ReduceMean":
        axes = told.get("axes") if "axes" in told else t.qdq.constant(node, 1)
        keep = bool(told.get("keepdims", 1))
        if axes is None or sorted(int(axis) % 4 for axis in axes) != [2, 3]:
            raise lacks(node, "means are known over height and width only")
    x = t.value(node, node.input[0])
    flat = t.builder.activation(f"{out.name}.flat" if keep else out.name, (1, x.shape[3]), out.quant)
    axis = constant_int32(t, f"{out.name}.axes", [1, 2])
    t.builder.operator(BUILTIN.MEAN, 2, [x, axis], [flat], (OPTIONS.ReducerOptions, schema.ReducerOptionsT()))
    return reshaped(t, flat, out.name, (1, 1, 1, x.shape[3])) if keep else flat


def reshaped(t: Translator, x: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
    made = t.builder.activation(name, shape, x.quant)
    options = schema.ReshapeOptionsT()
    options.newShape = np.array(shape, np.int32)
    wanted = constant_int32(t, f"{name}.shape", shape)
    t.builder.operator(BUILTIN.RESHAPE, 1, [x, wanted], [made], (OPTIONS.ReshapeOptions, options))
    return made


def concat(t: Translator, node: onnx.NodeProto, out: Out) -> Tensor:
    """All inputs at the scale of the output, as TFLite's kernels want it."""
    parts = [t.requantised(t.value(node, part), f"{out.name}.{n}", out.quant) for n, part in enumerate(node.input)]
    axis = _axis(attributes(node)["axis"], len(parts[0].shape))
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    made = t.builder.activation(out.name, shape, out.quant)
    options = schema.ConcatenationOptionsT()
    options.axis = axis
    t.builder.operator(BUILTIN.CONCATENATION, 2, parts, [made], (OPTIONS.ConcatenationOptions, options))
    return made


def logistic(t: Translator, node: onnx.NodeProto, out: Out) -> Tensor:
    x = t.value(node, node.input[0])
    made = t.builder.activation(f"{out.name}.logistic", x.shape, PROBABILITY)
    t.builder.operator(BUILTIN.LOGISTIC, 2, [x], [made])
    return t.requantised(made, out.name, out.quant)


def softmax(t: Translator, node: onnx.NodeProto, out: Out) -> Tensor:
    x = t.value(node, node.input[0])
    if attributes(node).get("axis", -1) % len(x.shape) != len(x.shape) - 1 or len(x.shape) == 4:
        raise lacks(node, "a softmax is known over the last axis only")
    made = t.builder.activation(f"{out.name}.softmax", x.shape, PROBABILITY)
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    t.builder.operator(BUILTIN.SOFTMAX, 2, [x], [made], (OPTIONS.SoftmaxOptions, options))
    return t.requantised(made, out.name, out.quant)


def flatten(t: Translator, node: onnx.NodeProto) -> Tensor:
    """Flatten or Reshape to [1, N]; of an image, the order of its axes is remembered for the layer that reads it."""
    x = t.value(node, node.input[0])
    if node.op_type == "Reshape":
        wanted = t.qdq.constant(node, 1)
        if wanted is None or len(wanted) != 2:
            raise lacks(node, f"a reshape to {None if wanted is None else wanted.tolist()}; only [batch, N] is known")
    elif attributes(node).get("axis", 1) != 1:
        raise lacks(node, "it flattens from another axis than 1")
    size = int(np.prod(x.shape))
    planes = (x.shape[3], x.shape[1], x.shape[2]) if len(x.shape) == 4 and x.shape[1:3] != (1, 1) else None
    return reshaped(t, x, f"{node.output[0]}.flat", (1, size)).flattened(planes)


def pad(t: Translator, node: onnx.NodeProto) -> Tensor:
    """With zeros, on any axis."""
    told = attributes(node)
    value, axes = t.qdq.constant(node, 2), t.qdq.constant(node, 3)
    if told.get("mode", b"constant") != b"constant" or (value is not None and np.any(value != 0)) or axes is not None:
        raise lacks(node, "padding is known with zeros, on all axes")
    pads = t.qdq.constant(node, 1)
    assert pads is not None
    x = t.value(node, node.input[0])
    amounts = np.asarray(pads).reshape(2, -1).T  # [axes, before and after]
    return padded(t, x, f"{node.output[0]}.padded", _ordered(amounts))


def strided_slice(t: Translator, node: onnx.NodeProto) -> Tensor:
    x = t.value(node, node.input[0])
    rank = len(x.shape)
    starts, ends = t.qdq.constant(node, 1), t.qdq.constant(node, 2)
    assert starts is not None
    assert ends is not None
    axes, steps = t.qdq.constant(node, 3), t.qdq.constant(node, 4)
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts), np.int64) if steps is None else steps
    begin, end, stride = np.zeros(rank, np.int64), np.array(x.shape, np.int64), np.ones(rank, np.int64)
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = _axis(int(axis), rank)
        if step < 1:
            raise lacks(node, f"a step of {step}")
        begin[place], end[place], _ = slice(int(start), int(stop), int(step)).indices(x.shape[place])
        stride[place] = step
    shape = tuple(int(-(-(e - b) // s)) for b, e, s in zip(begin, end, stride, strict=True))
    made = t.builder.activation(f"{node.output[0]}.slice", shape, x.quant)
    operands = [
        constant_int32(t, f"{node.output[0]}.{what}", values)
        for what, values in (("begin", begin), ("end", end), ("stride", stride))
    ]
    options = schema.StridedSliceOptionsT()
    t.builder.operator(BUILTIN.STRIDED_SLICE, 2, [x, *operands], [made], (OPTIONS.StridedSliceOptions, options))
    return made


def identity(t: Translator, node: onnx.NodeProto) -> Tensor:
    return t.value(node, node.input[0])


OPERATORS: dict[str, Operator] = {
    "Conv": conv,
    "Gemm": fully_connected,
    "MatMul": fully_connected,
    "Add": add,
    "Mul": mul,
    "HardSwish": hard_swish,
    "GlobalAveragePool": mean,
    "ReduceMean": mean,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "Concat": concat,
    "Sigmoid": logistic,
    "Softmax": softmax,
}
MOVERS: dict[str, Mover] = {
    "Flatten": flatten,
    "Reshape": flatten,
    "Pad": pad,
    "Slice": strided_slice,
    "Identity": identity,
    "Dropout": identity,
}


def _binary(t: Translator, node: onnx.NodeProto, out: Out, kind: tuple[int, int, Any]) -> Tensor:
    a, b = (t.value(node, each) for each in node.input)
    if len(a.shape) != len(b.shape):
        raise lacks(node, f"shapes {a.shape} and {b.shape} of different rank")
    made = t.builder.activation(out.name, np.broadcast_shapes(a.shape, b.shape), out.quant)
    code, options_type, options = kind
    options.fusedActivationFunction = ACTIVATIONS[out.fused]
    t.builder.operator(code, 2, [a, b], [made], (options_type, options))
    return made


def _axis(axis: int, rank: int) -> int:
    """Where TFLite has an axis of ONNX."""
    return TO_NHWC.index(axis % rank) if rank == 4 else axis % rank


def _ordered(amounts: Any) -> list[list[int]]:
    """[axes, 2] of ONNX in TFLite's order."""
    rows = [[int(before), int(after)] for before, after in amounts]
    return [rows[axis] for axis in TO_NHWC] if len(rows) == 4 else rows
