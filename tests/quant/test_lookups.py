"""Tables of a small encoder as int8, and weights in 16 bits: smaller files whose answers are nearly the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.quant.halves import halve_weights
from edgekd.quant.lookups import by_row, quantise_lookups

DRAW = np.random.default_rng(0)
TABLE = DRAW.standard_normal((400, 32)).astype(np.float32) * DRAW.uniform(0.01, 10, (400, 1)).astype(np.float32)
IDS = np.array([[0, 7, 399], [5, 5, 5]])


def graph(*, axis: int = 0, also_multiplied: bool = False) -> onnx.ModelProto:
    nodes = [helper.make_node("Gather", ["table", "ids"], ["rows"], axis=axis)]
    nodes.append(helper.make_node("Identity", ["rows"], ["out"]))
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [None] * 3)]
    if also_multiplied:
        nodes.append(helper.make_node("Transpose", ["table"], ["turned"]))
        outputs.append(helper.make_tensor_value_info("turned", TensorProto.FLOAT, [32, 400]))
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "sequence"])]
    made = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(TABLE, "table")])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def answer(made: onnx.ModelProto) -> Any:
    onnx.checker.check_model(made, full_check=True)
    return ort.InferenceSession(made.SerializeToString()).run(None, {"ids": IDS})[0]


def test_rows_come_back_within_half_a_step_of_their_own_scale() -> None:
    made = graph()
    assert quantise_lookups(made) == ["table"]
    steps = np.abs(TABLE[IDS]).max(-1, keepdims=True) / 127
    assert (np.abs(answer(made) - TABLE[IDS]) <= 0.5001 * steps).all()


def test_the_file_is_a_quarter_and_the_float_table_is_gone(tmp_path: Path) -> None:
    before, after = graph(), graph()
    quantise_lookups(after)
    assert len(after.SerializeToString()) < 0.35 * len(before.SerializeToString())
    assert "table" not in {tensor.name for tensor in after.graph.initializer}


@pytest.mark.parametrize("how", [{"axis": 1}, {"also_multiplied": True}])
def test_a_table_that_is_not_only_looked_up_by_row_stays(how: dict[str, Any]) -> None:
    made = graph(**how)
    assert quantise_lookups(made) == []
    assert made == graph(**how)


def test_a_small_table_stays() -> None:
    made = graph()
    made.graph.initializer[0].CopyFrom(numpy_helper.from_array(TABLE[:200], "table"))
    assert quantise_lookups(made) == []


def test_a_row_of_zeros_stays_zero() -> None:
    codes, scales = by_row(np.zeros((2, 4), np.float32))
    assert (codes * scales == 0).all()
    assert (scales == 1).all()


def test_halved_weights_are_half_the_file_and_computed_with_in_full() -> None:
    made = graph()
    assert halve_weights(made) == 1
    assert len(made.SerializeToString()) < 0.6 * len(graph().SerializeToString())
    np.testing.assert_array_equal(answer(made), TABLE.astype(np.float16).astype(np.float32)[IDS])


def test_weights_beyond_the_range_of_16_bits_stay_as_they_are() -> None:
    made, wide = graph(), TABLE.copy()
    wide[0, 0] = 1e6
    made.graph.initializer[0].CopyFrom(numpy_helper.from_array(wide, "table"))
    assert halve_weights(made) == 0
    assert answer(made).max() == 1e6
