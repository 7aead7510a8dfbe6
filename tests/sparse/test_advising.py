"""The adviser: zeros are really in what it measures, bytes are never called time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.onnx_models import save
from onnx import TensorProto, helper, numpy_helper

from edgekd.advising import advise
from edgekd.errors import ConfigError
from edgekd.prune.zeros import sentences
from edgekd.sparse.plans import Sparsity
from edgekd.sparse.proof import count, prove
from edgekd.sparse.zeros import put_zeros

MICRO = str(Path(__file__).parent.parent / "micro-cpu.yaml")
DRAW = np.random.default_rng(0)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A stem of three channels, a convolution, a product with its inputs first."""
    constants = {"stem": (8, 3, 3, 3), "conv": (16, 8, 3, 3), "product": (16, 5)}
    nodes = [
        helper.make_node("Conv", ["x", "stem"], ["a"], "stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "conv"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "product"], ["y"], "product"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])],
        [
            numpy_helper.from_array(DRAW.standard_normal(shape).astype(np.float32), name)
            for name, shape in constants.items()
        ],
    )
    return save(graph, tmp_path / "net.onnx")


def test_the_smallest_weights_go_along_the_inputs_and_the_rest_stay(net: Path) -> None:
    dense, sparse, plan = onnx.load(net), onnx.load(net), Sparsity(nm="2:4")
    assert put_zeros(sparse, plan) == 2  # the stem reads three channels
    assert prove(sparse, plan)["zeros_percent"] == 50
    before, after = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer} for graph in (dense, sparse)
    )
    assert np.array_equal(before["stem"], after["stem"])
    kept = after["product"] != 0
    assert np.array_equal(after["product"][kept], before["product"][kept])
    groups = np.abs(before["product"].T.reshape(5, 4, 4))
    assert np.array_equal(
        np.sort(groups, -1)[..., 2:], np.sort(np.abs(after["product"].T.reshape(5, 4, 4)), -1)[..., 2:]
    )
    ort.InferenceSession(sparse.SerializeToString()).run(None, {"x": np.zeros((1, 3, 8, 8), np.float32)})
    put_zeros(dense, Sparsity(unstructured=0.9))
    assert [round(row.zeros / row.weights, 2) for row in count(dense, Sparsity(unstructured=0.9))] == [0.9, 0.9, 0.9]


@pytest.mark.parametrize(
    ("says", "faster", "expected"),
    [
        ("same", [1.0, 0.99, 1.01], "no faster; its file is 2.0 times smaller where it is sent compressed"),
        ("inconclusive", [1.02, 0.9, 1.1], r"not shown to be faster (1.02 [0.90, 1.10]); its file"),
        ("faster", [1.5, 1.4, 1.6], "1.50 [1.40, 1.60] times as fast; its file"),
        ("slower", [0.8, 0.7, 0.9], "slower: 0.80 [0.70, 0.90] times as fast; its file"),
    ],
)
def test_time_and_bytes_are_told_apart(says: str, faster: list[float], expected: str) -> None:
    row = {"plan": "2:4", "kind": "int8@x", "says": says, "times_faster": faster, "smaller_compressed": 2.0}
    (told,) = sentences([{"plan": "dense"}, row])
    assert told.startswith("2:4 in int8@x: ")
    assert expected in told


@pytest.mark.slow
def test_every_runtime_is_measured_with_and_without_zeros(net: Path) -> None:
    told = advise(net, MICRO, plans=(Sparsity(unstructured=0.9), Sparsity(nm="8:16")))
    rows = {(row["plan"], row["kind"]): row for row in told["rows"]}
    kinds = {kind for _, kind in rows}
    assert {"fp32@onnxruntime", "int8@onnxruntime"} <= kinds
    assert {plan for plan, _ in rows} == {"dense", "90 % zeros", "8:16"}
    sparse = rows["90 % zeros", "int8@onnxruntime"]
    assert sparse["size_bytes"] == pytest.approx(rows["dense", "int8@onnxruntime"]["size_bytes"], rel=0.1)
    assert sparse["smaller_compressed"] > 1.2
    assert told["kind"] == "measured"
    assert len(told["says"]) == 2 * len(kinds)


def test_what_cannot_be_advised_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"edgekd sparsity takes ONNX files"):
        advise(tmp_path / "net.pt")
