"""SmoothQuant: outliers of activations are moved into the weights that read them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from edgekd.quant.adjust.graph import Array, Graph, attribute, watched

ALPHA = 0.5  # the paper's default
PASSING = ("Reshape",)  # between a layer norm and a Gemm; the last axis stays the last


def smooth(model: onnx.ModelProto, feeds: Mapping[str, Array], batch: int) -> int:
    """
    In place; the number of layer norms that were folded into.

    s_j = max|X_j|^a / max|W_j|^(1-a): the layer norm's channel j is divided, the rows j of all weights that read it
    are multiplied (Xiao et al., "SmoothQuant: accurate and efficient post-training quantization for large language
    models", 2023, equation 4). Only where nothing but matrix products reads the layer norm: in nets that normalise
    after the residual addition nothing can be folded.
    """
    graph = Graph(model)
    found = {n.output[0]: (n, readers) for n in graph.nodes if (readers := _products(graph, n))}
    if not found:
        return 0
    largest: dict[str, Array] = {}
    for seen in watched(model, list(found), feeds, batch):
        for name, x in seen.items():
            now = np.abs(x).reshape(-1, x.shape[-1]).max(0)
            largest[name] = np.maximum(largest.get(name, now), now)
    for name, (norm, readers) in found.items():
        _fold(graph, norm, readers, largest[name])
    return len(found)


def _products(graph: Graph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The matrix products that read a layer norm, where nothing else does and its weights are its own."""
    if node.op_type != "LayerNormalization" or not all(graph.own(name) for name in node.input[1:]):
        return []
    if node.output[0] in graph.outputs or attribute(node, "axis", -1) != -1:
        return []
    readers = list(graph.readers.get(node.output[0], []))
    products = []
    while readers:
        reader = readers.pop()
        if reader.op_type in PASSING and reader.output[0] not in graph.outputs:
            readers += graph.readers.get(reader.output[0], [])
        elif reader.op_type in ("MatMul", "Gemm") and graph.own(reader.input[1]) and not attribute(reader, "transA", 0):
            products.append(reader)
        else:
            return []
    width = graph.constant(node.input[1])
    return products if width is not None and all(_rows(graph, p).shape[0] == len(width) for p in products) else []


def _fold(graph: Graph, norm: onnx.NodeProto, readers: list[onnx.NodeProto], largest: Array) -> None:
    weights = np.max([np.abs(_rows(graph, reader)).max(1) for reader in readers], axis=0)
    dead = (largest == 0) | (weights == 0)
    scale = np.where(dead, 1.0, largest**ALPHA / np.where(dead, 1.0, weights) ** (1 - ALPHA)).astype(np.float32)
    for name in norm.input[1:]:
        value = graph.constant(name)
        assert value is not None
        graph.put(name, value / scale)
    for reader in readers:
        rows = _rows(graph, reader) * scale[:, None]
        graph.put(reader.input[1], rows.T if attribute(reader, "transB", 0) else rows)


def _rows(graph: Graph, product: onnx.NodeProto) -> Array:
    """The weight [inputs, outputs]."""
    weight = graph.constant(product.input[1])
    assert weight is not None
    return weight.T if attribute(product, "transB", 0) else weight
