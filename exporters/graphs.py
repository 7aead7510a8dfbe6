"""What exporters ask of a QDQ graph, and the batch that compilers want fixed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgekd.data.signature import Signature
from edgekd.deploy.exporter import Deployable
from edgekd.deploy.proof import is_quantised
from edgekd.errors import UnsupportedError


def fix_batch(model: onnx.ModelProto) -> None:
    """In place: free first axes are 1, since what is compiled is compiled for one shape."""
    for value in (*model.graph.input, *model.graph.output):
        for axis in value.type.tensor_type.shape.dim[:1]:
            if not axis.dim_value:
                axis.Clear()
                axis.dim_value = 1


def one_sample(exporter: str, described: Signature) -> Signature:
    """For graphs of fixed shapes: one sample. Raises UnsupportedError for other axes that are free."""
    for spec in described.inputs:
        if free := [axis for axis in spec.shape[1:] if isinstance(axis, str)]:
            raise UnsupportedError(
                f"exporter {exporter}: input {spec.name!r} leaves {free[0]!r} free; fix it in the model"
            )
        if spec.shape[0] != 1 and not isinstance(spec.shape[0], str):
            raise UnsupportedError(
                f"exporter {exporter}: input {spec.name!r} has a batch of {spec.shape[0]}, only 1 is known"
            )
    inputs = (spec.model_copy(update={"shape": (1, *spec.shape[1:])}) for spec in described.inputs)
    return described.model_copy(update={"inputs": tuple(inputs)})


def for_one_sample(exporter: str, deployable: Deployable) -> tuple[onnx.ModelProto, Signature]:
    """
    The quantised graph with its batch fixed at one sample, and what it then reads. Raises UnsupportedError for a graph
    that is not quantised, and for axes that stay free.
    """
    graph = onnx.load(deployable.onnx)
    if not is_quantised(graph):
        raise UnsupportedError(f"exporter {exporter}: writes quantised files only; this graph is not quantised")
    described = one_sample(exporter, deployable.signature)
    fix_batch(graph)
    del graph.graph.value_info[:]  # shapes that were inferred with the batch free
    onnx.helper.set_model_props(graph, dict(deployable.metadata))
    return graph, described


def norm_scales_as_uint8(model: onnx.ModelProto) -> None:
    """
    In place: what layer norms multiply by becomes uint8. Of int8 it is the same numbers, from a zero point of 128; of
    floats the nearest of 256 levels over their range.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    for name in dict.fromkeys(norm.input[1] for norm in norms):  # several may share theirs
        if name in constants:
            new = _dequantised(model, name, constants[name])
            for norm in norms:
                norm.input[1] = new if norm.input[1] == name else norm.input[1]
        elif (maker := makers.get(name)) is not None and maker.op_type == "DequantizeLinear":
            _shifted(model, maker, constants)


def _shifted(model: onnx.ModelProto, maker: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> None:
    stored, zero = constants.get(maker.input[0]), constants.get(maker.input[2])
    if stored is None or zero is None or stored.dtype != np.int8:
        return
    values, zeros = f"{maker.output[0]}.uint8", f"{maker.output[0]}.uint8.zero"
    for name, value in ((values, stored), (zeros, zero)):
        shifted = (value.astype(np.int16) + 128).astype(np.uint8)
        model.graph.initializer.append(numpy_helper.from_array(shifted, name))
    maker.input[:] = [values, maker.input[1], zeros]


def _dequantised(model: onnx.ModelProto, name: str, floats: np.ndarray) -> str:
    low, high = min(0.0, float(floats.min())), max(0.0, float(floats.max()))
    scale = (high - low) / 255 or 1.0
    zero = round(-low / scale)
    values = np.clip(np.round(floats / scale) + zero, 0, 255)
    parts: dict[str, np.ndarray] = {
        "uint8": values.astype(np.uint8),
        "scale": np.array(scale, np.float32),
        "zero": np.array(zero, np.uint8),
    }
    for part, value in parts.items():
        model.graph.initializer.append(numpy_helper.from_array(value, f"{name}.{part}"))
    made = [f"{name}.{part}" for part in parts]
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", made, [f"{name}.dequantized"], name=f"{name}.dq"))
    return f"{name}.dequantized"
