"""Small ONNX files, each with one property."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def stack_of(layers: int, path: Path, width: int = 256) -> Path:
    """A float graph of `layers` matrix products, [batch, width] to [batch, width]."""
    weight = np.random.default_rng(0).standard_normal((width, width)).astype(np.float32) / np.sqrt(width)
    nodes = [helper.make_node("MatMul", [f"x{i}" if i else "x", "w"], [f"x{i + 1}"]) for i in range(layers)]
    graph = helper.make_graph(
        nodes,
        "stack",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(weight.astype(np.float32), "w")],
    )
    return save(graph, path)


def one_node(op: str, path: Path, *, opset: int = 20, shape: tuple[int | str, ...] = ("batch", 4)) -> Path:
    """One operator from `x` to `y`, float32."""
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    return save(graph, path, opset)


def linear(weight: np.ndarray, path: Path, *, names: tuple[str, str] = ("x", "logits")) -> Path:
    """X [batch, I] to logits [batch, C] by one matrix product."""
    x, y = names
    graph = helper.make_graph(
        [helper.make_node("MatMul", [x, "w"], [y])],
        "linear",
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", weight.shape[0]])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["batch", weight.shape[1]])],
        [numpy_helper.from_array(weight.astype(np.float32), "w")],
    )
    return save(graph, path)


def save(graph: onnx.GraphProto, path: Path, opset: int = 20) -> Path:
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
    return path


def with_an_unknown_operator(model: Path, path: Path) -> Path:
    """The same with a Frobnicate of another domain, named `strange`, before its output `logits`."""
    graph = onnx.load(model)
    graph.opset_import.append(helper.make_opsetid("elsewhere", 1))
    last = next(node for node in graph.graph.node if "logits" in node.output)
    last.output[list(last.output).index("logits")] = "before"
    graph.graph.node.append(helper.make_node("Frobnicate", ["before"], ["logits"], name="strange", domain="elsewhere"))
    onnx.save(graph, path)
    return path
