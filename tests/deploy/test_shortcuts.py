"""Strided shortcuts as convolutions: the same integers, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekd.deploy.shortcuts import as_convolutions

END = np.iinfo(np.int64).max


def shortcut(
    *, channels: int = 4, pads: tuple[int, ...] = (0, 2, 0, 0, 0, 1, 0, 0), starts: tuple[int, int] = (0, 0),
    steps: tuple[int, int] = (2, 2), scale_after: float = 0.05, zero_point: int = 7, kind: type = np.uint8,
    between: bool = True, fill: float = 0.0, read_twice: bool = False,
) -> onnx.ModelProto:  # fmt: skip
    """X -> Q, DQ -> rows sliced -> (Q, DQ) -> columns sliced -> channels padded -> Q, DQ, as quantisers write it."""
    constants: dict[str, Any] = {
        "scale": np.array(0.05, np.float32), "after": np.array(scale_after, np.float32),
        "zero": np.array(zero_point, kind), "pads": np.array(pads, np.int64), "fill": np.array(fill, np.float32),
        "end": np.array([END]), "rows": np.array([2]), "columns": np.array([-1]),
        **{f"start{i}": np.array([start]) for i, start in enumerate(starts)},
        **{f"step{i}": np.array([step]) for i, step in enumerate(steps)},
    }  # fmt: skip

    def quantised(x: str, y: str, scale: str = "scale") -> list[onnx.NodeProto]:
        return [
            helper.make_node("QuantizeLinear", [x, scale, "zero"], [f"{y}.q"]),
            helper.make_node("DequantizeLinear", [f"{y}.q", scale, "zero"], [y]),
        ]

    nodes = [
        *quantised("x", "a"),
        helper.make_node("Slice", ["a", "start0", "end", "rows", "step0"], ["b"]),
        *(quantised("b", "c") if between else [helper.make_node("Identity", ["b"], ["c"])]),
        helper.make_node("Slice", ["c", "start1", "end", "columns", "step1"], ["d"]),
        helper.make_node("Pad", ["d", "pads", "fill"], ["e"]),
        *quantised("e", "y", "after"),
    ]
    outputs = ["y", *(["d"] if read_twice else [])]
    if not between:  # the slices follow each other
        nodes = [node for node in nodes if node.op_type != "Identity"]
        nodes[3].input[0] = "b"
    graph = helper.make_graph(
        nodes,
        "shortcut",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", channels, 7, 6])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", f"{name}.c", f"{name}.h", f"{name}.w"])
            for name in outputs
        ],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def answers(model: onnx.ModelProto) -> list[Any]:
    x = np.random.default_rng(0).normal(0, 4, (3, model.graph.input[0].type.tensor_type.shape.dim[1].dim_value, 7, 6))
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    fused = ort.SessionOptions()
    return [
        ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"]).run(
            None, {"x": x.astype(np.float32)}
        )[0]
        for options in (plain, fused)
    ]


@settings(max_examples=30)
@given(
    channels=st.integers(1, 9), before=st.integers(0, 4), after=st.integers(0, 4),
    steps=st.tuples(st.integers(1, 3), st.integers(2, 3)), kind=st.sampled_from([np.uint8, np.int8]),
    zero_point=st.integers(0, 127), between=st.booleans(),
)  # fmt: skip
def test_the_integers_that_come_out_are_the_same(
    channels: int, before: int, after: int, steps: tuple[int, int], kind: type, zero_point: int, between: bool
) -> None:
    """In the file's own arithmetic, and with the runtime's integer kernels."""
    model = shortcut(
        channels=channels, pads=(0, before, 0, 0, 0, after, 0, 0), steps=steps, kind=kind, zero_point=zero_point,
        between=between,
    )  # fmt: skip
    wanted = answers(model)
    assert as_convolutions(model) == 1
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert "Conv" in kinds
    assert not {"Slice", "Pad"} & set(kinds)
    assert {tensor.name for tensor in model.graph.initializer} <= {name for n in model.graph.node for name in n.input}
    for own, other in zip(answers(model), wanted, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize(
    "other",
    [
        {"starts": (1, 1)},  # not from the first row and column
        {"steps": (1, 1)},
        {"pads": (0, 2, 1, 0, 0, 1, 0, 0)},  # rows are padded too
        {"pads": (0, -1, 0, 0, 0, 1, 0, 0)},  # channels are cut off
        {"fill": 1.0},
        {"scale_after": 0.04},  # values change
        {"read_twice": True},
    ],
    ids=str,
)
def test_what_is_no_such_shortcut_stays(other: dict[str, Any]) -> None:
    model = shortcut(**other)
    before = model.SerializeToString()
    assert as_convolutions(model) == 0
    assert model.SerializeToString() == before


def test_what_only_a_branch_or_an_output_reads_stays() -> None:
    """Branches of If see the names around them; so does whoever reads the answers."""
    model = shortcut()
    scale = numpy_helper.from_array(np.array(3.0, np.float32), "scale_of_a_branch")
    told = numpy_helper.from_array(np.array([1.0], np.float32), "told")
    inner = helper.make_graph(
        [helper.make_node("Mul", ["y", "scale_of_a_branch"], ["z"])], "branch", [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )  # fmt: skip
    model.graph.initializer.extend([scale, told, numpy_helper.from_array(np.array(True), "yes")])
    model.graph.node.append(helper.make_node("If", ["yes"], ["w"], then_branch=inner, else_branch=inner))
    model.graph.output[0].name = "w"
    model.graph.output.append(helper.make_tensor_value_info("told", TensorProto.FLOAT, [1]))
    wanted = answers(model)
    assert as_convolutions(model) == 1
    for own, other in zip(answers(model), wanted, strict=True):
        np.testing.assert_array_equal(own, other)


def test_a_shortcut_that_a_branch_reads_half_way_stays() -> None:
    model = shortcut()
    inner = helper.make_graph(
        [helper.make_node("Identity", ["d"], ["z"])], "branch", [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )  # fmt: skip
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["w"], then_branch=inner, else_branch=inner))
    model.graph.output.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, None))
    assert as_convolutions(model) == 0
    answers(model)
