"""Reading a dataset artifact: pixels as stored, and as the net reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from edgekd.data import pixels, tensors
from edgekd.data.split import RULE
from edgekd.data.stages import Preprocess, Split
from edgekd.engine.store import Artifact
from edgekd.errors import DataError


@dataclass(frozen=True)
class Samples:
    """One split: images uint8 [N, H, W, C], labels int64 [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Joined:
    """Two arrays of images [N, H, W, C] as one, of which only the rows that are asked for are read."""

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.first) + len(self.second), *self.first.shape[1:])

    def __getitem__(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        found = np.empty((len(rows), *self.first.shape[1:]), np.uint8)
        mine = rows < len(self.first)
        found[mine] = self.first[rows[mine]]
        found[~mine] = self.second[rows[~mine] - len(self.first)]
        return found


def with_unlabelled(samples: Samples, images: NDArray[np.uint8]) -> Samples:
    """The samples, and after them images whose label is none: -1."""
    labels = np.concatenate([samples.labels, np.full(len(images), -1, np.int64)])
    return Samples(cast(Any, Joined(samples.images, images)), labels)


@dataclass(frozen=True)
class Dataset:
    artifact: Artifact

    @property
    def about(self) -> dict[str, Any]:
        return self.artifact.json("dataset.json")  # type: ignore[no-any-return]

    @property
    def labels(self) -> list[str]:
        return list(self.about["labels"])

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.about["image"]
        return channels, height, width

    def arrays(self, name: Split) -> dict[str, NDArray[Any]]:
        """All that is stored of a split, each [N, ...]: `images`, or what the model reads by input; `labels`."""
        with safe_open(self.artifact.file("data.safetensors"), "numpy") as file:
            mine = [key for key in file.keys() if key.startswith(f"{name}.")]  # noqa: SIM118  no mapping
            return {key.removeprefix(f"{name}."): file.get_tensor(key) for key in mine}

    def some(self, name: Split, most: int) -> dict[str, NDArray[Any]]:
        """The same of the first samples alone, at the most so many."""
        with safe_open(self.artifact.file("data.safetensors"), "numpy") as file:
            mine = [key for key in file.keys() if key.startswith(f"{name}.")]  # noqa: SIM118  no mapping
            parts = {key.removeprefix(f"{name}."): file.get_slice(key) for key in mine}
            return {key: part[: min(most, part.get_shape()[0])] for key, part in parts.items()}

    def split(self, name: Split) -> Samples:
        """Its images stay on disk: only the rows that are asked for are read."""
        found = tensors.mapped(self.artifact.file("data.safetensors"))
        return Samples(found[f"{name}.images"], np.array(found[f"{name}.labels"]))


def write(
    folder: Path,
    images: NDArray[np.uint8],
    labels: NDArray[Any],
    rows: Mapping[Split, NDArray[np.intp]],
    names: Sequence[str],
) -> None:
    """A dataset artifact: images [N, H, W, C] and labels [N], by the row numbers of each split."""
    tensors = {}
    for split, chosen in rows.items():
        tensors[f"{split}.images"] = np.ascontiguousarray(images[chosen])
        tensors[f"{split}.labels"] = labels[chosen].astype(np.int64)
    save_file(tensors, folder / "data.safetensors")
    _, height, width, channels = images.shape
    about = {
        "schema": 1,
        "labels": list(names),
        "image": [channels, height, width],
        "splits": {split: len(chosen) for split, chosen in rows.items()},
        "rule": RULE,
    }
    (folder / "dataset.json").write_text(json.dumps(about, indent=1), "utf-8")


def preprocess(images: NDArray[np.uint8], settings: Preprocess) -> NDArray[np.float32]:
    """Images uint8 [N, H, W, C] to what the net reads, float32 [N, C, H, W]; resized where they are not yet."""
    check_channels(settings, images.shape[-1])
    how = settings.model_dump()
    scaled = pixels.normalised(resized(images, how), how)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def check_channels(settings: Preprocess, channels: int) -> None:
    """Raises DataError."""
    for name, values in (("mean", settings.mean), ("std", settings.std)):
        if len(values) != channels:
            raise DataError(f"preprocess.{name}: {len(values)} values for images of {channels} channels; one a channel")


def resized(images: NDArray[np.uint8], how: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Images uint8 [N, H, W, C] in the size that is read: as they are, where it is theirs. Raises DataError."""
    if pixels.output_size(how) in (None, images.shape[1:3]):
        return images
    try:
        return np.stack([pixels.fitted(image, how) for image in images])
    except ValueError as error:
        raise DataError(f"preprocess: {error}") from error
