"""Whether the zeros are in the file: what is counted is the initialisers of the exported graph."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgekd.deploy.shortcuts import is_shortcut
from edgekd.errors import EdgekdError
from edgekd.sparse.plans import Sparsity


@dataclass(frozen=True)
class Zeros:
    """Of one layer: its weights, how many are zero, and whether no group has more than the plan keeps."""

    layer: str
    weights: int
    zeros: int
    grouped: bool


def count(graph: onnx.ModelProto, plan: Sparsity) -> list[Zeros]:
    """Of every layer whose weights the plan asks to be sparse, as they are stored: as floats or as integers."""
    kept, group = plan.group
    found = []
    for stored in weights_of(graph):
        weights = stored.values
        if weights.shape[1] % group or not plan.fits(weights.shape):
            continue
        groups = np.moveaxis(weights != 0, 1, -1).reshape(-1, group).sum(1)
        found.append(Zeros(stored.layer, weights.size, int((weights == 0).sum()), bool((groups <= kept).all())))
    return found


def prove(graph: onnx.ModelProto, plan: Sparsity) -> dict[str, Any]:
    """What is told of a file that holds what the plan says; EdgekdError for one that does not."""
    layers = count(graph, plan)
    total, zeros = sum(row.weights for row in layers), sum(row.zeros for row in layers)
    broken = [row.layer for row in layers if plan.nm is not None and not row.grouped]
    if not layers:
        raise EdgekdError(f"sparsity: no layer of the exported graph could be {plan}; leave sparsity out")
    rounding = len(layers) * plan.block[0] * plan.block[1] / 2  # each layer's share is one of whole blocks
    if broken or zeros < (plan.share - 0.01) * total - rounding:
        where = f"layer {broken[0]!r} is not" if broken else f"{100 * zeros / total:.1f} % of the weights are zero, not"
        raise EdgekdError(f"sparsity: {where} {plan} in the exported graph; it is not shipped")
    return {"plan": str(plan), "zeros_percent": 100 * zeros / total, "layers": [asdict(row) for row in layers]}


def leave(folder: Path, plan: Sparsity) -> None:
    """`sparsity.json` beside the graph of a hub; raises as `prove` does."""
    told = prove(onnx.load(folder / "model.onnx"), plan)
    (folder / "sparsity.json").write_text(json.dumps(told, indent=1), "utf-8")


class Stored(NamedTuple):
    layer: str
    name: str  # of the initialiser
    values: NDArray[Any]  # [O, I, ...]
    inputs_first: bool  # as it is stored


def weights_of(model: onnx.ModelProto) -> list[Stored]:
    """Of convolutions without groups and of products with a constant, past their dequantisation."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    found = []
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
            continue
        told = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        maker = makers.get(node.input[1])
        name = maker.input[0] if maker is not None and maker.op_type == "DequantizeLinear" else node.input[1]
        if name not in constants or told.get("group", 1) != 1:
            continue
        values = numpy_helper.to_array(constants[name])
        inputs_first = node.op_type == "MatMul" or (node.op_type == "Gemm" and not told.get("transB", 0))
        if values.ndim >= 2 and not is_shortcut(node):
            found.append(Stored(node.name, name, values.T if inputs_first else values, inputs_first))
    return found
