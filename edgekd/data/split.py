"""Splits that follow from what is in the samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data.stages import SPLITS, Parts, Split
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
    keys = np.array([hashlib.sha256(image.tobytes()).hexdigest() for image in images])
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort(keys[rows])]
        if len(rows) <= val_per_class + test_per_class:
            raise DataError(
                f"data: the train split is empty for class {label}: it has {len(rows)} images, and val_per_class="
                f"{val_per_class} and test_per_class={test_per_class} leave none to train on; lower them"
            )
        parts["test"] += rows[:test_per_class].tolist()
        parts["val"] += rows[test_per_class : test_per_class + val_per_class].tolist()
        parts["train"] += rows[test_per_class + val_per_class :].tolist()
    # in an order of no meaning: calibration takes the first rows, and many a file is sorted by class
    return {split: np.array(sorted(rows, key=lambda row: keys[row])) for split, rows in parts.items()}


def by_shares(
    digests: Sequence[str],
    labels: NDArray[np.int64],
    given: Sequence[Split | None],
    parts: Parts,
    names: Sequence[str],
    what: str = "picture",
) -> dict[Split, NDArray[np.intp]]:
    """
    Row numbers of each split, from the sha256 of what each sample was found as, and its class.

    Splits that are given stay; test, where none is, and then val are made of the training samples: within each class
    in the order of sha256(seed, digest), the first shares of it. Equal files come into one split.
    """
    known = np.array([split or "train" for split in given])
    keys = [hashlib.sha256(f"{parts.seed}:{digest}".encode()).hexdigest() for digest in digests]
    split: NDArray[Any] = known.copy()
    for label, name in enumerate(names):
        rows = [int(row) for row in np.flatnonzero((labels == label) & (known == "train"))]
        rows.sort(key=lambda row: keys[row])
        start = 0
        for part, share in (("test", parts.test_share), ("val", parts.val_share)):
            if part not in known:
                end = min(start + max(1, round(share * len(rows))), len(rows))
                while 0 < end < len(rows) and keys[rows[end]] == keys[rows[end - 1]]:
                    end += 1
                split[rows[start:end]] = part
                start = end
        if start >= len(rows):
            raise DataError(f"data: no {what} of class {name!r} is left to train on; add some, or lower the shares")
    # in an order of no meaning: calibration takes the first rows, and files come class by class
    order = np.argsort(keys, kind="stable")
    found: dict[Split, NDArray[np.intp]] = {p: order[split[order] == p] for p in SPLITS}
    for part, chosen in found.items():
        if missing := [names[n] for n in range(len(names)) if not (labels[chosen] == n).any()]:
            raise DataError(f"data: the {part} split has no {what} of class {missing[0]!r}; each needs each")
    return found


def rule(given: Sequence[Split | None], parts: Parts) -> str:
    """The rule in words, for the report."""
    made = [f"{name} {share:.0%}" for name, share in (("test", parts.test_share), ("val", parts.val_share))
            if name not in given]  # fmt: skip
    if not made:
        return "splits as given"
    start = "given splits, and of the training pictures" if any(given) else "of all pictures"
    return f"{start}, within each class by sha256 of seed {parts.seed} and content: {', then '.join(made)}"


def digest(digests: Sequence[str], rows: NDArray[np.intp]) -> str:
    """Which samples a split holds, in whatever order."""
    return hashlib.sha256("".join(sorted(digests[row] for row in rows)).encode()).hexdigest()
