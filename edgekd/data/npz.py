"""A person's images and labels in a numpy archive."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data.arrays import read_archive
from edgekd.data.dataset import resized, write
from edgekd.data.split import by_content
from edgekd.data.stages import LoadNpz
from edgekd.engine.digest import digest_file
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import DataError


def run(settings: LoadNpz, _inputs: Mapping[str, Artifact], work: Work) -> None:
    source = settings.data
    if digest_file(Path(source.path)) != source.sha256:
        raise DataError(f"{source.path}: changed while the build began; run it again")
    images, labels = (_read(Path(source.path), name) for name in ("images", "labels"))
    pixels = resized(as_pixels(images), settings.geometry.model_dump())
    numbers = as_labels(labels, len(source.labels))
    if len(pixels) != len(numbers):
        raise DataError(f"data: {len(pixels)} images but {len(numbers)} labels; each image needs one")
    rows = by_content(pixels, numbers, source.val_per_class, source.test_per_class)
    write(work.out, pixels, numbers, rows, source.labels)


def as_pixels(images: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 [N, H, W, C] of images [N, H, W] or [N, H, W, C] whose values are whole numbers from 0 to 255."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or not np.issubdtype(images.dtype, np.number):
        raise DataError(
            f"data.images: {images.dtype} {list(images.shape)}; expected numbers as [N, H, W] or [N, H, W, C]"
        )
    if not len(images):
        raise DataError("data.images: there are none; give at least a few of each class")
    if images.dtype == np.uint8:
        return images
    bad = ~np.isfinite(images)
    if bad.any():
        raise DataError(
            f"data.images: {int(bad.sum())} values are NaN or infinite, the first in image {_first(bad)}; "
            "remove or repair these images"
        )
    strange = (images < 0) | (images > 255) | (images != np.round(images))
    if strange.any():
        raise DataError(
            f"data.images: image {_first(strange)} holds {images[strange].ravel()[0]:g}; "
            "pixels are whole numbers from 0 to 255, normalisation is done by `preprocess`"
        )
    return images.astype(np.uint8)


def as_labels(labels: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """int64 [N], each from 0 to `classes` - 1."""
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"data.labels: {labels.dtype} {list(labels.shape)}; expected whole numbers as [N]")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        raise DataError(
            f"data.labels: {int(wrong.sum())} are out of range, the first is {labels[wrong][0]} of image "
            f"{_first(wrong)}; {classes} classes are named, so labels go from 0 to {classes - 1}"
        )
    return labels.astype(np.int64)


def _read(path: Path, name: str) -> NDArray[Any]:
    archive = read_archive(path)
    if name not in archive:
        raise DataError(f"{path}: has no array {name!r}, only {', '.join(archive) or 'nothing'}")
    return archive[name]


def _first(mask: NDArray[np.bool_]) -> int:
    return int(np.flatnonzero(mask.reshape(len(mask), -1).any(1))[0])
