"""A person's images and labels in a numpy archive."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data import duplicates, split
from edgekd.data.arrays import read_archive
from edgekd.data.dataset import resized, write
from edgekd.data.gather import sentences
from edgekd.data.split import by_content
from edgekd.data.stages import SPLITS, LoadNpz, NpzSource, Split
from edgekd.engine.digest import digest_file
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import DataError


def run(settings: LoadNpz, _inputs: Mapping[str, Artifact], work: Work) -> None:
    source = settings.data
    if digest_file(Path(source.path)) != source.sha256:
        raise DataError(f"{source.path}: changed while the build began; run it again")
    archive = read_archive(Path(source.path))
    parts = [part(archive, source, split) for split in (SPLITS if "train_images" in archive else (None,))]
    if len({images.shape[1:] for images, _ in parts}) > 1:
        raise DataError(f"{source.path}: its splits hold images of several sizes; give all one size")
    images, numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
    pixels = resized(images, settings.geometry.model_dump())
    if len(parts) > 1:
        ends = np.cumsum([len(labels) for _, labels in parts])
        rows = dict(zip(SPLITS, np.split(np.arange(ends[-1]), ends[:-1]), strict=True))
    elif source.val_per_class is None or source.test_per_class is None:
        raise DataError(
            f"{source.path}: is not split (it has no train_images); say how many images of each class to hold out: "
            "data.val_per_class and data.test_per_class"
        )
    else:
        rows = by_content(pixels, numbers, source.val_per_class, source.test_per_class)
    write(work.out, pixels, numbers, rows, source.labels)
    tell(work, pixels, numbers, rows, source.labels)


def part(
    archive: Mapping[str, NDArray[Any]], source: NpzSource, split: Split | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels of one split, or of all where they are not split. Raises DataError."""
    names = [f"{split}_{what}" if split else what for what in ("images", "labels")]
    for name in names:
        if name not in archive:
            raise DataError(f"{source.path}: has no array {name!r}, only {', '.join(archive) or 'nothing'}")
    pixels, numbers = as_pixels(archive[names[0]]), as_labels(archive[names[1]], len(source.labels))
    if len(pixels) != len(numbers):
        raise DataError(f"data: {len(pixels)} {names[0]} but {len(numbers)} {names[1]}; each image needs one")
    return pixels, numbers


def tell(
    work: Work,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    rows: Mapping[Split, NDArray[np.intp]],
    names: Sequence[str],
) -> None:
    """Counts by class, near duplicates and digests of the splits, beside the dataset and to whoever listens."""
    path = work.out / "dataset.json"
    keys = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    near = duplicates.between(duplicates.thumbnails(list(images)), rows["train"], rows["test"])
    about = json.loads(path.read_text("utf-8")) | {
        "digests": {name: split.digest(keys, chosen) for name, chosen in rows.items()},
        "report": {
            "classes": {name: int((labels == number).sum()) for number, name in enumerate(names)},
            "sizes": {},
            "unreadable": [],
            "near_duplicates": [[f"image {a}", f"image {b}"] for a, b in near],
        },
    }
    path.write_text(json.dumps(about, indent=1), "utf-8")
    for sentence in sentences(about):
        work.progress.warn(sentence)


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


def _first(mask: NDArray[np.bool_]) -> int:
    return int(np.flatnonzero(mask.reshape(len(mask), -1).any(1))[0])
