"""Reading a dataset artifact: pixels as stored, and as the net reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from edgekd.data.stages import Preprocess, Split
from edgekd.engine.store import Artifact


@dataclass(frozen=True)
class Samples:
    """One split: images uint8 [N, H, W, C], labels int64 [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


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

    def split(self, name: Split) -> Samples:
        with safe_open(self.artifact.file("data.safetensors"), "numpy") as file:
            return Samples(file.get_tensor(f"{name}.images"), file.get_tensor(f"{name}.labels"))


def preprocess(images: NDArray[np.uint8], settings: Preprocess) -> NDArray[np.float32]:
    """Stored images uint8 [N, H, W, C] to what the net reads, float32 [N, C, H, W]."""
    mean = np.asarray(settings.mean, np.float32)
    std = np.asarray(settings.std, np.float32)
    scaled = (images.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
