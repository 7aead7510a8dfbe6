"""What `run.py` makes of models that are no classifiers of one image."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.data import pixels
from edgekd.hardware.specs import plain_onnxruntime

RUNTIME = plain_onnxruntime().model_dump(mode="json")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`run.py` as a bundle has it, beside its copy of the preprocessing."""
    folder = tmp_path_factory.mktemp("bundle")
    shutil.copyfile(pixels.__file__, folder / "pixels.py")
    shutil.copyfile(Path(pixels.__file__).parents[1] / "deploy" / "run_bundle.py", folder / "run.py")
    spec = importlib.util.spec_from_file_location("run", folder / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.path", [*sys.path])
        spec.loader.exec_module(module)
    return module


def opened(run: Any, folder: Path, batch: int | str, axes: list[int]) -> Any:
    """ONNX Runtime with the mean of an image [batch, 3, 2, 2] over some axes."""
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
    read = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 2, 2])
    told = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    which = helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes)
    graph = helper.make_graph([node], "mean", [read], [told], [which])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "mean.onnx")
    return run.in_onnxruntime(str(folder / "mean.onnx"), RUNTIME)


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


def test_a_single_number_is_told_as_it_is(run: Any, image: Path) -> None:
    assert run.answer(opened(run, image.parent, "N", [1, 2, 3]), signature("N"), image)["output"] == pytest.approx(
        3 / 12
    )


def test_an_answer_that_is_an_image_is_told_as_it_is(run: Any, image: Path) -> None:
    told = run.answer(opened(run, image.parent, "N", [1]), signature("N"), image)["output"]
    assert np.allclose(told, [[1 / 3, 1 / 3], [0, 1 / 3]])


def test_a_fixed_batch_is_filled_with_the_image(run: Any, image: Path) -> None:
    assert run.answer(opened(run, image.parent, 4, [2, 3]), signature(4), image)["label"] == "0"
