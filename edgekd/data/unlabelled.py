"""Pictures without labels, which a teacher answers too: read once, without those that val or test hold as well."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data import duplicates
from edgekd.data.arrays import read_archive
from edgekd.data.dataset import Dataset, resized
from edgekd.data.folder import pictures_in
from edgekd.data.gather import decode
from edgekd.data.listing import Listing
from edgekd.data.npz import as_pixels
from edgekd.data.stages import LoadUnlabelled
from edgekd.data.tensors import write
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import DataError

FILE = "unlabelled.safetensors"


def run(settings: LoadUnlabelled, inputs: Mapping[str, Artifact], work: Work) -> None:
    path, data = Path(settings.data.path), Dataset(inputs["data"])
    if settings.data.pinned().digest != settings.data.digest:
        raise DataError(f"{path}: changed while the build began; run it again")
    channels, *size = data.image
    images = _archived(path, settings) if path.is_file() else _decoded(path, settings, channels, work)
    if list(images.shape[1:]) != [*size, channels]:
        told = " x ".join(map(str, images.shape[1:]))
        raise DataError(f"{path}: pictures of {told}, and the data's are {size[0]} x {size[1]} x {channels}")
    held = held_out(images, data)
    kept = np.setdiff1d(np.arange(len(images)), held)
    if not len(kept):
        raise DataError(f"{path}: all of its pictures are in val or test as well; a teacher must not answer these")
    rows = (np.asarray(images[row]) for row in kept)
    write(work.out / FILE, {"images": (np.uint8, (len(kept), *images.shape[1:]))}, [rows])
    about = {"schema": 1, "pictures": len(kept), "left_out": len(held)}
    (work.out / "unlabelled.json").write_text(json.dumps(about), "utf-8")
    left = f"; {len(held)} are left out, which val or test hold as well" if len(held) else ""
    work.progress.warn(f"{len(kept)} pictures without labels{left}")


def held_out(images: NDArray[np.uint8], data: Dataset) -> NDArray[np.intp]:
    """The rows of images [N, H, W, C] that are nearly in val or test: from these a teacher would give answers away."""
    splits = [data.split(name).images for name in ("val", "test")]
    small = [duplicates.thumbnails([np.asarray(image) for image in some]) for some in (images, *splits) if len(some)]
    ends = len(images), sum(map(len, small))
    near = duplicates.between(np.concatenate(small), np.arange(ends[0], ends[1]), np.arange(ends[0]))
    return np.array([row for row, _ in near], np.intp)


def _archived(path: Path, settings: LoadUnlabelled) -> NDArray[np.uint8]:
    archive = read_archive(path)
    if "images" not in archive:
        raise DataError(f"{path}: has no array 'images', only {', '.join(archive) or 'nothing'}")
    return resized(as_pixels(archive["images"]), settings.geometry.model_dump())


def _decoded(path: Path, settings: LoadUnlabelled, channels: int, work: Work) -> NDArray[Any]:
    files = pictures_in(path)
    told = [file.relative_to(path).as_posix() for file in files]
    found = Listing(items=files, told=told, labels=[0] * len(files), names=(), splits=[None] * len(files))
    if not files:
        raise DataError(f"{path}: no pictures there; give a folder of them, or an .npz with `images`")
    return decode(found, settings.geometry, channels, work.scratch, work.progress).pixels
