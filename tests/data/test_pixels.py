"""What a model reads of a photograph is the same in training, in the exported graph and in `run.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from sklearn.datasets import load_sample_images

from edgekd.data import pixels
from edgekd.data.dataset import Samples, preprocess, resized
from edgekd.data.feeds import feeds
from edgekd.data.signature import of_images
from edgekd.data.stages import Preprocess
from edgekd.deploy.hub import normalise_inside
from edgekd.hardware.runtimes.onnxruntime import OnnxRuntimeSession
from edgekd.hardware.specs import plain_onnxruntime
from edgekd.train.batches import normalised
from edgekd.train.batches import pixels as pixels_of

PHOTOGRAPHS = [image[top:bottom, left:right] for image in load_sample_images().images
               for top, bottom, left, right in ((0, 427, 0, 639), (3, 336, 11, 512), (50, 287, 7, 200))]  # fmt: skip
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HOWS = [
    Preprocess(resize=(96, 128), mean=MEAN, std=STD),
    Preprocess(resize=111, crop=(97, 101), interpolation="bicubic", mean=MEAN, std=STD),
    Preprocess(crop=(180, 190), mean=MEAN, std=STD),
]


def ours(photograph: np.ndarray, how: Preprocess) -> np.ndarray:
    return pixels.fitted(photograph, how.model_dump())


@pytest.mark.parametrize("how", HOWS, ids=["both sides", "shorter side and crop", "crop"])
def test_training_export_and_run_py_read_the_same_numbers(run_py: Any, tmp_path: Path, how: Preprocess) -> None:
    inside = how.model_copy(update={"inside": True})
    for number, photograph in enumerate(PHOTOGRAPHS):
        Image.fromarray(photograph).save(tmp_path / f"{number}.png")
        stored, _ = pixels.read(tmp_path / f"{number}.png", how.model_dump(), 3)
        samples = Samples(stored[None], np.zeros(1, np.int64))
        trained_on = normalised(pixels_of(samples, torch.tensor([0])), how).numpy()
        (spec,) = of_images((3, *stored.shape[:2]), ["a", "b"], how).inputs
        measured = feeds({"images": stored[None]}, [spec])[spec.name]
        told = spec.model_dump(mode="json")
        applied = run_py.prepared(run_py.read_image(tmp_path / f"{number}.png", told), told)
        graph = in_graph(tmp_path, inside, stored.shape)
        for other in (measured, applied, graph(stored[None])):
            assert other.shape == trained_on.shape
            assert np.abs(other - trained_on).max() < 1e-5


def in_graph(folder: Path, how: Preprocess, shape: tuple[int, ...]) -> Any:
    """A graph that does nothing but what `inside` puts before it."""
    height, width, channels = shape
    sizes: list[str | int] = ["batch", channels, height, width]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "nothing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    normalise_inside(model, how, (channels, height, width))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / "inside.onnx")
    session = OnnxRuntimeSession(folder / "inside.onnx", plain_onnxruntime())
    return lambda images: session.run({"x": images})[0]


def test_resizing_is_pillows_antialiased(tmp_path: Path) -> None:
    photograph = PHOTOGRAPHS[0]
    for name in ("bilinear", "bicubic", "lanczos", "box", "nearest"):
        how = Preprocess(resize=(64, 48), interpolation=name, mean=MEAN, std=STD)
        expected = Image.fromarray(photograph).resize((48, 64), Image.Resampling[name.upper()])
        assert np.array_equal(ours(photograph, how), np.asarray(expected))


def test_the_shorter_side_is_resized_and_the_middle_is_taken() -> None:
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, 140:160] = 255  # the middle
    made = ours(wide, Preprocess(resize=50, crop=(50, 10), mean=MEAN, std=STD))
    assert made.shape == (50, 10, 3)
    assert made[:, 1:9].min() > 200


def test_what_is_stored_in_that_size_is_left_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    how = Preprocess(resize=40, crop=(32, 32), mean=MEAN, std=STD).model_dump()
    assert np.array_equal(resized(images, how), images)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pictures_of_every_mode_are_read_as_what_they_show(mode: str, tmp_path: Path) -> None:
    half = Image.fromarray(np.repeat([[0, 255]], 8, axis=0).repeat(8, axis=1).astype(np.uint8))
    wide = Image.fromarray(np.asarray(half).astype(np.uint16) * 257) if mode == "I;16" else half.convert(mode)
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    wide.save(path)
    for channels in (1, 3):
        made, size = pixels.read(path, {}, channels)
        assert size == "8 x 16"
        assert made.shape == (8, 16, channels)
        assert made[:, :8].max() <= 1
        assert made[:, 8:].min() >= 254


def test_a_photograph_that_lies_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    picture = Image.fromarray(PHOTOGRAPHS[2])
    exif = picture.getexif()
    exif[0x0112] = 6  # turn by 90 degrees to see it
    picture.save(tmp_path / "a.png", exif=exif)
    made, _ = pixels.read(tmp_path / "a.png", {}, 3)
    assert np.array_equal(made, np.rot90(PHOTOGRAPHS[2], -1))


def test_what_is_transparent_stands_on_white(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 4), np.uint8), "RGBA").save(tmp_path / "a.png")
    assert pixels.read(tmp_path / "a.png", {}, 3)[0].min() == 255


def test_the_gate_resizes_what_it_is_given_as_training_did() -> None:
    how = Preprocess(resize=(20, 30), mean=MEAN, std=STD)
    expected = preprocess(ours(PHOTOGRAPHS[1], how)[None], how)
    assert np.array_equal(preprocess(PHOTOGRAPHS[1][None], how), expected)
