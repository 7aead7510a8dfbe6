"""A file that reads and answers int8 itself: its conversions from and to floats go, for processors without floats."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.errors import UnsupportedError

CODES = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


@dataclass(frozen=True)
class Edge:
    """A tensor at the edge of a file: what is real is scale x (integer - zero_point)."""

    name: str
    scale: float
    zero_point: int


def without_floats(file: bytes) -> tuple[bytes, tuple[Edge, ...], tuple[Edge, ...]]:
    """The file without QUANTIZE behind its inputs and DEQUANTIZE before its outputs; and what its edges are then."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file, 0))
    (graph,) = model.subgraphs
    kinds = [(op, kind(model, op)) for op in graph.operators]
    behind = {int(op.inputs[0]): op for op, name in kinds if name == "QUANTIZE" and op.inputs[0] in graph.inputs}
    before = {int(op.outputs[0]): op for op, name in kinds if name == "DEQUANTIZE" and op.outputs[0] in graph.outputs}
    names = [graph.tensors[one].name.decode() for one in (*graph.inputs, *graph.outputs)]
    graph.inputs = [
        _other(graph, one, behind[int(one)].outputs if int(one) in behind else None) for one in graph.inputs
    ]
    graph.outputs = [
        _other(graph, one, before[int(one)].inputs if int(one) in before else None) for one in graph.outputs
    ]
    gone = [*behind.values(), *before.values()]
    graph.operators = [op for op in graph.operators if not any(op is other for other in gone)]
    _check_cut(graph, behind, before)
    for signature in model.signatureDefs or ():
        for entries, tensors in ((signature.inputs, graph.inputs), (signature.outputs, graph.outputs)):
            for entry, tensor in zip(entries, tensors, strict=True):
                entry.tensorIndex = tensor
    edges = [graph.tensors[one] for one in (*graph.inputs, *graph.outputs)]
    for tensor, name in zip(edges, names, strict=True):
        tensor.name = name
    told = tuple(
        Edge(name, float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0]))
        for tensor, name in zip(edges, names, strict=True)
    )
    count = len(graph.inputs)
    return packed(model), told[:count], told[count:]


def _check_cut(graph: schema.SubGraphT, behind: Container[int], before: Container[int]) -> None:
    """Raises UnsupportedError where something else still reads a float at an edge, which is no more."""
    for op in graph.operators:
        for one in (int(one) for one in op.inputs if int(one) in behind or int(one) in before):
            name = graph.tensors[one].name.decode()
            raise UnsupportedError(f"tensor {name!r} at the edge is read as float too; quantise all that reads it")


def _other(graph: schema.SubGraphT, one: int, through: object) -> int:
    """The integer tensor on the other side of a conversion."""
    found = int(one) if through is None else int(through[0])  # type: ignore[index]
    tensor = graph.tensors[found]
    if tensor.type != schema.TensorType.INT8:
        raise UnsupportedError(f"tensor {tensor.name.decode()!r} at the edge is not int8; quantise inputs and logits")
    return found


def kind(model: schema.ModelT, operator: schema.OperatorT) -> str:
    """An operator's name in the schema."""
    code = model.operatorCodes[operator.opcodeIndex]
    name: str = CODES[max(code.builtinCode, code.deprecatedBuiltinCode)]
    return name


def operators(file: bytes) -> list[tuple[str, str]]:
    """Of every operator of a file: its name, or a custom one's own, and the tensor that it makes."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file, 0))
    (graph,) = model.subgraphs
    found = []
    for operator in graph.operators:
        name = kind(model, operator)
        if name == "CUSTOM":
            name = model.operatorCodes[operator.opcodeIndex].customCode.decode()
        found.append((name, graph.tensors[operator.outputs[0]].name.decode()))
    return found


def quantised(x: Any, edge: Edge) -> Any:
    """Floats as the integers that a file without floats reads."""
    return np.clip(np.round(x / np.float32(edge.scale)) + edge.zero_point, -128, 127).astype(np.int8)


def real(x: Any, edge: Edge) -> Any:
    """What the integers of a file without floats stand for."""
    return (edge.scale * (x.astype(np.float64) - edge.zero_point)).astype(np.float32)


def packed(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
