"""ONNX graphs without torch, quantised in every dialect: fused whole where the runtime can, and close to the float."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
from helpers.onnx_models import save
from onnx import TensorProto, helper, numpy_helper

from edgekd.deploy.fusion import coverage, in_onnxruntime
from edgekd.errors import ConfigError
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.profile import load_profile
from edgekd.hardware.runtime import open_session
from edgekd.hardware.specs import OnnxRuntimeSpec
from edgekd.quant.onnx_ptq import prepare, quantise, see_ranges
from edgekd.quant.stages import Adjustment, Calibration

X = np.random.default_rng(0).standard_normal((32, 3, 12, 12)).astype(np.float32)
U8 = Dialect(activation="uint8-affine", reduced_range=True)
S8 = Dialect(activation="int8-affine", reduced_range=False)
SYMMETRIC = Dialect(activation="int8-symmetric", reduced_range=False)


@pytest.fixture
def residual(tmp_path: Path) -> Path:
    """Convolutions with batch norms and a residual addition, as exporters leave them: nothing is folded."""
    draw = np.random.default_rng(1)
    constants: dict[str, np.ndarray] = {"fc": draw.standard_normal((8, 5)).astype(np.float32)}
    nodes = []

    def block(x: str, name: str, channels: int) -> str:
        constants[f"{name}.w"] = (draw.standard_normal((8, channels, 3, 3)) / 5).astype(np.float32)
        for part, value in (("scale", 1.3), ("shift", 0.2), ("mean", 0.1), ("var", 0.7)):
            constants[f"{name}.{part}"] = np.full(8, value, np.float32)
        nodes.append(helper.make_node("Conv", [x, f"{name}.w"], [f"{name}.c"], pads=[1, 1, 1, 1], name=name))
        norm = [f"{name}.{part}" for part in ("c", "scale", "shift", "mean", "var")]
        nodes.append(helper.make_node("BatchNormalization", norm, [f"{name}.n"]))
        nodes.append(helper.make_node("Relu", [f"{name}.n"], [f"{name}.r"]))
        return f"{name}.r"

    first = block("x", "a", 3)
    second = block(block(first, "b", 8), "c", 8)
    nodes += [
        helper.make_node("Add", [first, second], ["sum"]),
        helper.make_node("GlobalAveragePool", ["sum"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "fc"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 12, 12])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return save(graph, tmp_path / "residual.onnx")


def spec() -> OnnxRuntimeSpec:
    found = load_profile("local-cpu").runtime("onnxruntime")
    assert isinstance(found, OnnxRuntimeSpec)
    return found


def answers(path: Path) -> np.ndarray:
    return np.asarray(open_session(path, spec()).run({"x": X})[0])


def test_every_convolution_runs_as_integers(residual: Path, tmp_path: Path) -> None:
    quantise(residual, {"x": X}, U8, tmp_path / "q.onnx")
    _, covered = in_onnxruntime(tmp_path / "q.onnx", spec())
    assert covered.left_float == ()
    assert covered.integer == 4


def test_without_folding_it_would_not(residual: Path, tmp_path: Path) -> None:
    """What `prepare` is for: the batch norms are gone, and nothing else is."""
    prepare(residual, tmp_path / "p.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "p.onnx").graph.node]
    assert "BatchNormalization" not in kinds
    assert kinds.count("Conv") == 3
    np.testing.assert_allclose(answers(tmp_path / "p.onnx"), answers(residual), rtol=1e-3, atol=1e-3)
    assert coverage(onnx.load(residual)).total == 4


@pytest.mark.parametrize("dialect", [U8, S8, SYMMETRIC], ids=str)
@pytest.mark.parametrize(
    "method", ["min-max", "mse", *(pytest.param(name, marks=pytest.mark.slow) for name in ("percentile", "entropy"))]
)
def test_answers_stay_close_and_types_are_the_dialects(
    residual: Path, tmp_path: Path, dialect: Dialect, method: Calibration
) -> None:
    quantise(residual, {"x": X}, dialect, tmp_path / "q.onnx", method=method)
    expected, actual = answers(residual), answers(tmp_path / "q.onnx")
    noise = 10 * np.log10(np.square(expected).mean() / np.square(actual - expected).mean())
    least = {"min-max": 12, "mse": 12, "percentile": 8, "entropy": 8}[
        method
    ]  # clipping pays on data, not on noise like this
    assert noise > least  # decibels
    graph = onnx.load(tmp_path / "q.onnx").graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    zeros = [constants[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"]
    assert {zero.dtype for zero in zeros} == {np.dtype(np.uint8 if dialect is U8 else np.int8)}
    if dialect is SYMMETRIC:
        assert all(zero == 0 for zero in zeros)
        assert not any(array.dtype == np.int32 and array.ndim == 1 and array.size > 2 for array in constants.values())
    weights = [array for array in constants.values() if array.dtype == np.int8 and array.ndim == 4]
    assert max(np.abs(array.astype(int)).max() for array in weights) <= (64 if dialect.reduced_range else 127)


@pytest.mark.parametrize("dialect", [U8, S8, SYMMETRIC], ids=str)
def test_ranges_that_were_seen_once_make_the_file_of_every_dialect(
    residual: Path, tmp_path: Path, dialect: Dialect
) -> None:
    """To the byte, as if each had looked itself."""
    see_ranges(residual, {"x": X}, tmp_path / "ranges.json")
    quantise(residual, {}, dialect, tmp_path / "shared.onnx", ranges=tmp_path / "ranges.json")
    quantise(residual, {"x": X}, dialect, tmp_path / "own.onnx")
    assert (tmp_path / "shared.onnx").read_bytes() == (tmp_path / "own.onnx").read_bytes()


@pytest.mark.parametrize("adjust", get_args(Adjustment))
def test_every_adjustment_can_be_quantised(residual: Path, tmp_path: Path, adjust: Adjustment) -> None:
    quantise(residual, {"x": X}, U8, tmp_path / "q.onnx", adjust=adjust)
    expected, actual = answers(residual), answers(tmp_path / "q.onnx")
    assert 10 * np.log10(np.square(expected).mean() / np.square(actual - expected).mean()) > 12


def test_what_cannot_be_prepared_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ConfigError, match=r"text\.onnx: cannot be prepared for quantisation"):
        quantise(tmp_path / "text.onnx", {"x": X}, U8, tmp_path / "q.onnx")
