"""Bias correction: what rounding the weights adds to a layer's output on average is taken from its bias."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from edgekd.quant.adjust.graph import Array, Graph, attribute, watched


def correct_biases(model: onnx.ModelProto, feeds: Mapping[str, Array], batch: int, weight_max: int) -> int:
    """
    In place; the number of convolutions that were corrected.

    b += (W - Q(W)) E[x], with the mean of each input channel over the samples and the image: the weights' own share
    of the error (Nagel et al., 2019, equation 17, with E[x] from data). Borders count as the inside does.
    """
    graph = Graph(model)
    layers = [n for n in graph.nodes if n.op_type == "Conv" and graph.own(n.input[1]) and _can_bias(graph, n)]
    layers = [layer for layer in layers if graph.is_kernel(layer.input[1])]  # not of sequences or volumes
    means = _means(model, sorted({layer.input[0] for layer in layers}), feeds, batch)
    for layer in layers:
        weight = graph.constant(layer.input[1])
        assert weight is not None
        error = weight - rounded(weight, weight_max)
        shift = _through(error, means[layer.input[0]], attribute(layer, "group", 1))
        if len(layer.input) > 2:
            bias = graph.constant(layer.input[2])
            assert bias is not None
            graph.put(layer.input[2], (bias + shift).astype(bias.dtype))
        else:
            name = f"{layer.output[0]}.bias"
            graph.add(name, shift.astype(weight.dtype))
            layer.input.append(name)
    return len(layers)


def rounded(weight: Array, weight_max: int) -> Array:
    """Weights [O, ...] as integers of +-weight_max with a scale an output channel, back in floats."""
    flat = np.abs(weight).reshape(len(weight), -1).max(1)
    scale = np.where(flat == 0, 1.0, flat / weight_max).reshape(-1, *(1,) * (weight.ndim - 1))
    return np.asarray(np.clip(np.round(weight / scale), -weight_max, weight_max) * scale)


def _through(error: Array, mean: Array, groups: int) -> Array:
    """[O] of an error [O, I / groups, h, w] and the means [I] of what it is multiplied with."""
    summed = error.sum((2, 3))
    each = len(error) // groups
    inputs = mean.reshape(groups, -1)
    return np.concatenate([summed[g * each : (g + 1) * each] @ inputs[g] for g in range(groups)])


def _means(model: onnx.ModelProto, names: list[str], feeds: Mapping[str, Array], batch: int) -> dict[str, Array]:
    own = {name: feeds[name].mean((0, 2, 3)) for name in names if name in feeds}
    inner = [name for name in names if name not in feeds]
    runs = watched(model, inner, feeds, batch) if inner else []
    return own | {name: np.mean([run[name].mean((0, 2, 3)) for run in runs], axis=0) for name in inner}


def _can_bias(graph: Graph, layer: onnx.NodeProto) -> bool:
    return len(layer.input) < 3 or graph.own(layer.input[2])
