"""Tables that are looked up, as int8: of a small encoder they are most of the file."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

LEAST_ROWS = 256  # of a table that is worth it
LARGEST = 127


def quantise_lookups(graph: onnx.ModelProto) -> list[str]:
    """
    In place: each large float table that rows are gathered from is int8, with a scale a row; the names of those tables.

    The rows are gathered first and turned into floats then: the table itself is never a float one, neither in the file
    nor in memory.
    """
    tables = {t.name: t for t in graph.graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) == 2}
    readers = {name: [n for n in graph.graph.node if name in n.input] for name in tables}
    found = []
    for name, nodes in readers.items():
        if tables[name].dims[0] < LEAST_ROWS or not nodes or not all(_looks_up(node, name) for node in nodes):
            continue
        found.append(name)
        codes, scales = by_row(numpy_helper.to_array(tables[name]))
        graph.graph.initializer.remove(tables[name])
        graph.graph.initializer.append(numpy_helper.from_array(codes, f"{name}.int8"))
        graph.graph.initializer.append(numpy_helper.from_array(scales, f"{name}.scale"))
        for node in nodes:
            _replace(graph, node, name)
    return found


def by_row(table: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes [V, H] and scales [V, 1] whose product is nearest to the table; a row of zeros has the scale 1."""
    largest = np.abs(table).max(1, keepdims=True)
    scales = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
    return np.rint(table / scales).astype(np.int8), scales


def _looks_up(node: onnx.NodeProto, name: str) -> bool:
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    return node.op_type == "Gather" and node.input[0] == name and axis == 0


def _replace(graph: onnx.ModelProto, node: onnx.NodeProto, name: str) -> None:
    out, place = node.output[0], list(graph.graph.node).index(node)
    graph.graph.node.remove(node)
    made = [
        helper.make_node("Gather", [f"{name}.int8", node.input[1]], [f"{out}.codes"], f"{out}.look_up"),
        helper.make_node("Gather", [f"{name}.scale", node.input[1]], [f"{out}.scales"], f"{out}.look_up_scale"),
        helper.make_node("Cast", [f"{out}.codes"], [f"{out}.floats"], f"{out}.cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{out}.floats", f"{out}.scales"], [out], f"{out}.scaled"),
    ]
    for offset, new in enumerate(made):
        graph.graph.node.insert(place + offset, new)
