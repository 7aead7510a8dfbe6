"""Splits that follow from what is in the samples."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data.stages import Split
from edgekd.errors import DataError

RULE = "within each class by sha256 of the pixels: first test, then val, the rest is train"


def by_content(
    images: NDArray[np.uint8], labels: NDArray[Any], val_per_class: int, test_per_class: int
) -> dict[Split, NDArray[np.intp]]:
    """
    Row numbers of each split, images [N, H, W, C], labels [N].

    Each class is put in the order of its images' sha256, the first `test_per_class` are test, the next
    `val_per_class` val, the rest train: stratified, without a random number, and the same wherever the
    same pixels are, in whatever order they come.
    """
    parts: dict[Split, list[int]] = {"train": [], "val": [], "test": []}
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort([hashlib.sha256(images[row].tobytes()).hexdigest() for row in rows])]
        if len(rows) <= val_per_class + test_per_class:
            raise DataError(
                f"data: the train split is empty for class {label}: it has {len(rows)} images, and val_per_class="
                f"{val_per_class} and test_per_class={test_per_class} leave none to train on; lower them"
            )
        parts["test"] += rows[:test_per_class].tolist()
        parts["val"] += rows[test_per_class : test_per_class + val_per_class].tolist()
        parts["train"] += rows[test_per_class + val_per_class :].tolist()
    return {split: np.array(sorted(rows)) for split, rows in parts.items()}
