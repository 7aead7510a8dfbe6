"""The split is the same wherever the pixels are, and nobody is in two of its parts."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd.data.dataset import Dataset, preprocess
from edgekd.data.split import by_content
from edgekd.data.stages import Preprocess
from edgekd.engine.store import Artifact
from edgekd.errors import DataError


def test_the_shipped_split_has_its_documented_sizes_and_every_class_alike(digits: Artifact) -> None:
    data = Dataset(digits)
    for split, per_class in (("train", 320), ("val", 80), ("test", 100)):
        counts = np.bincount(data.split(split).labels)  # type: ignore[arg-type]
        assert counts.tolist() == [per_class] * 10


def test_the_split_does_not_depend_on_the_order_of_the_files() -> None:
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 255, (60, 4, 4, 1), np.uint8), np.arange(60) % 3
    shuffle = generator.permutation(60)
    one = by_content(images, labels, 4, 5)
    two = by_content(images[shuffle], labels[shuffle], 4, 5)
    for split in one:
        assert {images[row].tobytes() for row in one[split]} == {images[shuffle][row].tobytes() for row in two[split]}
    assert sorted(np.concatenate(list(one.values()))) == list(range(60))


def test_a_split_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(DataError, match="empty for class 0: it has 4 images, and val_per_class=2 and test_per_class=2"):
        by_content(np.zeros((4, 2, 2, 1), np.uint8), np.zeros(4, int), 2, 2)


def test_preprocessing_is_what_the_settings_say() -> None:
    images = np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1)
    done = preprocess(images, Preprocess(mean=(0.2,), std=(0.5,)))
    assert done.dtype == np.float32
    assert done.ravel().tolist() == pytest.approx([-0.4, 0.0, 1.6])


def test_channels_move_to_the_front() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    done = preprocess(images, Preprocess(mean=(0, 0, 0), std=(1, 1, 1)))
    assert done.shape == (1, 3, 2, 4)
    assert done[0, 1, 1, 2] * 255 == pytest.approx(float(images[0, 1, 2, 1]))
