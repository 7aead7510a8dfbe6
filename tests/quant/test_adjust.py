"""Adjustments leave the float answers alone, and do to the quantised ones what their papers say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.onnx_models import save
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekd.quant.adjust.bias import correct_biases, rounded
from edgekd.quant.adjust.equalise import equalise
from edgekd.quant.adjust.smooth import smooth
from edgekd.quant.onnx_ptq import pool_means, release_outputs
from edgekd.quant.ranges import best_range, divergence, square_error

DRAW = np.random.default_rng(0)
IMAGES = DRAW.standard_normal((16, 3, 8, 8)).astype(np.float32) + 0.5


def model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], shape: tuple[int, ...]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def answers(graph: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": x})[0])


def constant(graph: onnx.ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(tensor for tensor in graph.graph.initializer if tensor.name == name))


def uneven(groups: int = 1, activation: str = "Relu") -> onnx.ModelProto:
    """Two convolutions whose channels differ by factors of a thousand."""
    factors = np.logspace(-1.5, 1.5, 6)
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], name="first"),
        helper.make_node(activation, ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w2"], ["y"], name="second", group=groups),
    ]
    constants = {
        "w1": DRAW.standard_normal((6, 3, 3, 3)) * factors[:, None, None, None],
        "b1": DRAW.standard_normal(6) * factors,
        "w2": DRAW.standard_normal((6, 6 // groups, 3, 3)),
    }  # fmt: skip
    return model(nodes, constants, (3, 8, 8))


@pytest.mark.parametrize("groups", [1, 6])
def test_equalised_channels_have_one_range_in_both_layers_and_answers_stay(groups: int) -> None:
    graph = uneven(groups)
    before = answers(graph, IMAGES)
    assert equalise(graph) == 1
    r1 = np.abs(constant(graph, "w1")).max((1, 2, 3))
    w2 = constant(graph, "w2")
    r2 = np.abs(w2).max((1, 2, 3) if groups > 1 else (0, 2, 3))
    np.testing.assert_allclose(r1, r2, rtol=1e-3)
    np.testing.assert_allclose(answers(graph, IMAGES), before, rtol=1e-3, atol=1e-3 * np.abs(before).max())


def test_nothing_is_equalised_through_a_curve_or_a_weight_that_two_layers_share() -> None:
    assert equalise(uneven(activation="Sigmoid")) == 0
    graph = uneven()
    graph.graph.node.append(helper.make_node("Conv", ["x", "w1", "b1"], ["other"]))
    assert equalise(graph) == 0


def transformer_block(residual: bool) -> tuple[onnx.ModelProto, np.ndarray]:
    nodes = [
        helper.make_node("LayerNormalization", ["x", "g", "s"], ["n"], axis=-1),
        helper.make_node("MatMul", ["n", "w1"], ["a"]),
        helper.make_node("MatMul", ["n", "w2"], ["b"]),
        helper.make_node("Add", ["a", "n" if residual else "b"], ["y"]),
    ]
    gain = np.ones(8)
    gain[3] = 60  # an outlier channel, as large transformers have
    constants = {"g": gain, "s": np.zeros(8), "w1": DRAW.standard_normal((8, 8)), "w2": DRAW.standard_normal((8, 8))}
    return model(nodes, constants, (5, 8)), DRAW.standard_normal((16, 5, 8)).astype(np.float32)


def test_smoothing_shares_an_outlier_between_activation_and_weights_and_answers_stay() -> None:
    graph, x = transformer_block(residual=False)
    before = answers(graph, x)
    assert smooth(graph, {"x": x}, batch=16) == 1
    gain = np.abs(constant(graph, "g"))
    assert gain.max() / np.median(gain) < 20  # it was 60
    np.testing.assert_allclose(answers(graph, x), before, rtol=1e-4, atol=1e-4 * np.abs(before).max())


def test_a_layer_norm_that_a_residual_reads_is_left_alone() -> None:
    graph, x = transformer_block(residual=True)
    before = graph.SerializeToString()
    assert smooth(graph, {"x": x}, batch=16) == 0
    assert graph.SerializeToString() == before


@pytest.mark.parametrize("groups", [1, 3])
def test_a_corrected_bias_takes_the_mean_error_of_rounded_weights_away(groups: int) -> None:
    weight = DRAW.standard_normal((6, 6 // groups, 1, 1))
    images = np.concatenate([IMAGES, 2 * IMAGES], 1)
    graph = model([helper.make_node("Conv", ["x", "w"], ["y"], name="only", group=groups)], {"w": weight}, (6, 8, 8))
    exact = answers(graph, images).mean((0, 2, 3))

    def mean_error() -> float:
        coarse = onnx.ModelProto()
        coarse.CopyFrom(graph)
        tensor = next(tensor for tensor in coarse.graph.initializer if tensor.name == "w")
        tensor.CopyFrom(numpy_helper.from_array(rounded(constant(graph, "w"), 3).astype(np.float32), "w"))
        return float(np.abs(answers(coarse, images).mean((0, 2, 3)) - exact).max())

    before = mean_error()
    assert correct_biases(graph, {"x": images}, batch=16, weight_max=3) == 1
    assert before > 0.02
    assert mean_error() < 1e-5


histograms = st.lists(st.integers(0, 1000), min_size=8, max_size=64).filter(lambda counts: sum(counts) > 0)


@given(histograms, st.floats(-50, 0), st.floats(0.1, 50), st.sampled_from([16, 256]), st.booleans())
@settings(deadline=None, max_examples=150)
def test_the_range_of_least_squares_holds_zero_lies_within_what_was_seen_and_beats_the_whole(
    counts: list[int], low: float, span: float, levels: int, symmetric: bool
) -> None:
    numbers, edges = np.array(counts), np.linspace(low, low + span, len(counts) + 1)
    a, b = best_range(numbers, edges, square_error, levels, symmetric)
    seen = np.flatnonzero(numbers)
    whole = (min(0.0, edges[seen[0]]), max(0.0, edges[seen[-1] + 1]))
    if symmetric:
        whole = (-max(whole[1], -whole[0]), max(whole[1], -whole[0]))
        assert a == -b
    assert whole[0] - 1e-9 <= a <= 0 <= b <= whole[1] + 1e-9
    centres = (edges[:-1] + edges[1:]) / 2

    def error(ends: tuple[float, float]) -> float:
        outside = np.clip(ends[0] - centres, 0, None) + np.clip(centres - ends[1], 0, None)
        inside = (outside == 0) & (centres != 0)
        return float((numbers * (outside**2 + inside * ((ends[1] - ends[0]) / (levels - 1)) ** 2 / 12)).sum())

    assert error((a, b)) <= error(whole) * (1 + 1e-9)


def test_an_outlier_is_clipped_where_four_bits_are_all_there_is_and_kept_where_there_are_eight() -> None:
    counts = np.zeros(1000, np.int64)
    counts[:100] = 1000
    counts[-1] = 1
    edges = np.linspace(0, 10, 1001)
    assert best_range(counts, edges, square_error, 16, symmetric=False)[1] < 6
    assert best_range(counts, edges, square_error, 4096, symmetric=False)[1] == pytest.approx(10)


def test_entropy_clips_a_long_thin_tail_and_keeps_a_distribution_that_fills_its_range() -> None:
    edges = np.linspace(0, 10, 2049)
    tail = np.random.default_rng(0).exponential(0.4, 200_000)
    counts = np.histogram(tail, edges)[0]
    low, high = best_range(counts, edges, divergence, 128, symmetric=False)
    assert low == 0
    assert 2 < high < 0.9 * edges[np.flatnonzero(counts)[-1] + 1]
    even = np.full(2048, 100)
    assert best_range(even, edges, divergence, 128, symmetric=False)[1] == pytest.approx(10)
    assert divergence(counts, edges, 0, high, 128) <= divergence(counts, edges, 0, 10, 128)


def test_a_mean_over_the_image_becomes_pooling_and_over_other_axes_stays(tmp_path: Path) -> None:
    for axes, keep, kinds in (
        ([2, 3], 0, ["GlobalAveragePool", "Flatten"]), ([-1, -2], 1, ["GlobalAveragePool"]), ([1, 2], 0, ["ReduceMean"])
    ):  # fmt: skip
        nodes = [helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=keep)]
        graph = model(nodes, {}, (3, 8, 8))
        graph.graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), "axes"))
        before = answers(graph, IMAGES)
        pool_means(graph)
        assert [node.op_type for node in graph.graph.node] == kinds
        np.testing.assert_allclose(answers(graph, IMAGES), before, atol=1e-6)


def test_released_outputs_are_in_float_and_nothing_unread_is_left(tmp_path: Path) -> None:
    constants = {"w": DRAW.standard_normal((4, 5)), "scale": np.array(0.1)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("QuantizeLinear", ["m", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    graph = model(nodes, constants, (4,))
    graph.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.uint8), "zero"))
    release_outputs(graph)
    assert [node.op_type for node in graph.graph.node] == ["MatMul"]
    assert [tensor.name for tensor in graph.graph.initializer] == ["w"]
    x = DRAW.standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_allclose(answers(graph, x), x @ constants["w"], rtol=1e-4, atol=1e-5)
    save(graph.graph, tmp_path / "kept.onnx")
