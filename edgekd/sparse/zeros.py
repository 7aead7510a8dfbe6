"""Zeros in a graph that comes without torch: what a device makes of them can be measured before anything is trained."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from edgekd.sparse.masks import lowest_out, n_of_m
from edgekd.sparse.plans import Sparsity
from edgekd.sparse.proof import weights_of


def put_zeros(graph: onnx.ModelProto, plan: Sparsity) -> int:
    """In place: the smallest weights of each layer that can be so sparse are zero; how many layers these are."""
    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    kept, group = plan.group
    layers = 0
    for stored in weights_of(graph):
        if not plan.fits(stored.values.shape) or stored.values.dtype != np.float32:
            continue
        scores = torch.from_numpy(np.abs(stored.values).copy())
        mask = n_of_m(scores, kept, group) if plan.nm else lowest_out(scores, plan.share, plan.block)
        values = stored.values * mask.numpy()
        values = np.ascontiguousarray(values.T if stored.inputs_first else values)
        constants[stored.name].CopyFrom(numpy_helper.from_array(values, stored.name))
        layers += 1
    return layers
