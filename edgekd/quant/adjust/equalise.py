"""Cross-layer equalisation: neighbouring convolutions share the range of their channels fairly."""

from __future__ import annotations

import numpy as np
import onnx

from edgekd.quant.adjust.graph import Array, Graph, attribute

SWEEPS = 20
SETTLED = 1e-3


def equalise(model: onnx.ModelProto) -> int:
    """
    In place; the number of pairs that were equalised.

    For a convolution, ReLU or nothing, and the convolution that alone reads it: channel i of the first is divided by
    s_i = sqrt(r1_i r2_i) / r2_i, of the second multiplied, with r the ranges of the weights (Nagel, van Baalen,
    Blankevoort, Welling, "Data-free quantization through weight equalization and bias correction", 2019, equation 11).
    ReLU6 is not scaled through: a clip at another place would be another function.
    """
    graph = Graph(model)
    pairs = [(node, after) for node in graph.nodes if (after := _next(graph, node)) is not None]
    for _ in range(SWEEPS):
        moved = max((_equalise(graph, first, second) for first, second in pairs), default=0.0)
        if moved < SETTLED:
            break
    return len(pairs)


def _next(graph: Graph, node: onnx.NodeProto) -> onnx.NodeProto | None:
    if node.op_type != "Conv" or not all(graph.own(name) for name in node.input[1:]):
        return None
    if not graph.is_kernel(node.input[1]):
        return None  # a convolution of sequences or volumes
    after = graph.only_reader(node.output[0])
    if after is not None and after.op_type == "Relu":
        after = graph.only_reader(after.output[0])
    if after is None or after.op_type != "Conv" or not graph.own(after.input[1]):
        return None
    weight = graph.constant(after.input[1])
    assert weight is not None
    groups = attribute(after, "group", 1)
    return after if groups == 1 or (weight.shape[1] == 1 and groups == weight.shape[0]) else None


def _equalise(graph: Graph, first: onnx.NodeProto, second: onnx.NodeProto) -> float:
    """How far the scales were from 1, on a log scale."""
    before, after = graph.constant(first.input[1]), graph.constant(second.input[1])
    assert before is not None
    assert after is not None
    depthwise = after.shape[1] == 1 and attribute(second, "group", 1) > 1
    r1 = np.abs(before).reshape(len(before), -1).max(1)
    r2 = np.abs(after).max((1, 2, 3)) if depthwise else np.abs(after).max((0, 2, 3))
    dead = (r1 == 0) | (r2 == 0)
    scale = np.where(dead, 1.0, np.sqrt(r1 * r2) / np.where(dead, 1.0, r2)).astype(before.dtype)
    graph.put(first.input[1], before / scale[:, None, None, None])
    if len(first.input) > 2:
        bias = graph.constant(first.input[2])
        assert bias is not None
        graph.put(first.input[2], bias / scale)
    graph.put(second.input[1], after * _along(scale, depthwise))
    return float(np.abs(np.log(scale)).max())


def _along(scale: Array, depthwise: bool) -> Array:
    return scale[:, None, None, None] if depthwise else scale[None, :, None, None]
