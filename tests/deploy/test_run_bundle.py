"""What `run.py` makes of models that are no classifiers of one image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.hardware.specs import plain_onnxruntime

RUNTIME = plain_onnxruntime().model_dump(mode="json")


def opened(run_py: Any, folder: Path, batch: int | str, axes: list[int]) -> Any:
    """ONNX Runtime with the mean of an image [batch, 3, 2, 2] over some axes."""
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
    read = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 2, 2])
    told = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    which = helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes)
    graph = helper.make_graph([node], "mean", [read], [told], [which])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "mean.onnx")
    return run_py.runtimes.in_onnxruntime(str(folder / "mean.onnx"), RUNTIME)


def signature(batch: int | str) -> dict[str, Any]:
    how = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    return {
        "inputs": [{"name": "x", "shape": [batch, 3, 2, 2], "layout": "NCHW", "preprocess": how}],
        "outputs": [{"name": "y", "labels": []}],
    }


@pytest.fixture
def image(tmp_path: Path) -> Path:
    np.save(tmp_path / "image.npy", np.array([[[255, 0, 0], [255, 0, 0]], [[0, 0, 0], [0, 255, 0]]], np.uint8))
    return tmp_path / "image.npy"


def test_a_single_number_is_told_as_it_is(run_py: Any, image: Path) -> None:
    assert run_py.answer(opened(run_py, image.parent, "N", [1, 2, 3]), signature("N"), image)[
        "output"
    ] == pytest.approx(3 / 12)


def test_an_answer_that_is_an_image_is_told_as_it_is(run_py: Any, image: Path) -> None:
    told = run_py.answer(opened(run_py, image.parent, "N", [1]), signature("N"), image)["output"]
    assert np.allclose(told, [[1 / 3, 1 / 3], [0, 1 / 3]])


def test_a_fixed_batch_is_filled_with_the_image(run_py: Any, image: Path) -> None:
    assert run_py.answer(opened(run_py, image.parent, 4, [2, 3]), signature(4), image)["label"] == "0"
