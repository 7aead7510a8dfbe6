"""Comparisons of real models in fresh processes, and of scripted clocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekd
from edgekd.errors import UnavailableError
from edgekd.hardware.measure.compare import speedup, verdict
from edgekd.hardware.profile import DeviceProfile, Measuring
from edgekd.stats import Interval


def stack_of(layers: int, path: Path) -> Path:
    """A float graph of `layers` matrix products, 256 wide."""
    weight = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32) / 16
    nodes = [helper.make_node("MatMul", [f"x{i}" if i else "x", "w"], [f"x{i + 1}"]) for i in range(layers)]
    graph = helper.make_graph(
        nodes,
        "stack",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 256])],
        [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, ["batch", 256])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture
def profile() -> DeviceProfile:
    return edgekd.load_profile("local-cpu").model_copy(update={"measure": Measuring(processes=3, rounds=40)})


def test_twice_the_work_is_found_to_be_slower_and_a_copy_is_not(tmp_path: Path, profile: DeviceProfile) -> None:
    models = {name: stack_of(layers, tmp_path / f"{name}.onnx") for name, layers in (("a", 8), ("copy", 8), ("b", 24))}
    found: dict[str, Any] = edgekd.compare(models, profile)
    over = {name: Interval(*row) for name, row in found["speedup_over"]["a"].items()}
    assert verdict(over["b"]) == "slower"
    assert 0.2 < over["b"].value < 0.6
    assert verdict(over["copy"], minimum_effect=0.05) not in ("slower", "faster")
    assert found["kind"] == "measured"
    assert found["models"]["a"]["n"] == 120
    assert found["models"]["a"]["latency_p90_ms"] is not None
    assert found["models"]["a"]["latency_p99_ms"] is None  # 120 runs support no p99
    assert found["size_bytes"]["a"] == models["a"].stat().st_size


def test_a_model_that_does_not_load_is_named(tmp_path: Path, profile: DeviceProfile) -> None:
    good = stack_of(1, tmp_path / "good.onnx")
    graph = onnx.load(good)
    graph.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(graph, tmp_path / "bad.onnx")
    with pytest.raises(UnavailableError, match=r"the process that runs the models ended with 1: .*NoSuchOperator"):
        edgekd.compare({"bad": tmp_path / "bad.onnx", "good": good}, profile)


def test_a_speedup_is_the_median_of_pairs_and_not_of_sides() -> None:
    """Both models slow down together in half the rounds, as on a busy machine: their pairs do not care."""
    busy = np.where(np.arange(100) % 2, 1.0, 5.0)
    base = np.stack([np.round(2000 * busy * k) for k in (1.0, 1.1, 0.9)]).astype(np.int64)
    assert speedup(base, base // 2).value == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        (Interval(1.1, 1.05, 1.2), "faster"),
        (Interval(0.9, 0.85, 0.95), "slower"),
        (Interval(1.0, 0.99, 1.01), "same"),
        (Interval(1.03, 0.99, 1.06), "inconclusive"),
        (Interval(1.03, 1.01, 1.06), "inconclusive"),
    ],
)
def test_a_difference_below_the_smallest_that_matters_is_none(interval: Interval, says: str) -> None:
    assert verdict(interval) == says
