"""Archives that come split, and pictures as another camera might have taken them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekd.data.dataset import Dataset
from edgekd.data.shift import shift
from edgekd.data.stages import SPLITS, NpzSource, Preprocess, loading
from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.store import Store
from edgekd.errors import DataError


def archive(folder: Path, **changes: Any) -> NpzSource:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 12), ("val", 6), ("test", 4)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % 2
    arrays |= changes
    np.savez(folder / "a.npz", **{name: array for name, array in arrays.items() if array is not None})
    return NpzSource(source="npz", path=str(folder / "a.npz"), labels=("cat", "dog")).pinned()


def loaded(source: NpzSource, store: Store) -> Dataset:
    stage, settings = loading(source, Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3))
    return Dataset(Builder(store, Silent()).call(stage, settings, {}))


def test_an_archive_that_is_split_stays_as_it_is_split(tmp_path: Path, store: Store) -> None:
    data = loaded(archive(tmp_path), store)
    with np.load(tmp_path / "a.npz") as arrays:
        for split in SPLITS:
            assert np.array_equal(data.split(split).images, arrays[f"{split}_images"])
            assert np.array_equal(data.split(split).labels, arrays[f"{split}_labels"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"val_images": None}, "has no array 'val_images', only train_images"),
        ({"test_labels": np.zeros(3, np.int64)}, "4 test_images but 3 test_labels; each image needs one"),
        ({"val_images": np.zeros((6, 9, 9, 3), np.uint8)}, "its splits hold images of several sizes"),
        ({"train_images": None}, "has no array 'images'"),
    ],
)
def test_what_a_split_archive_lacks_is_named(
    changes: dict[str, Any], sentence: str, tmp_path: Path, store: Store
) -> None:
    with pytest.raises(DataError, match=sentence):
        loaded(archive(tmp_path, **changes), store)


def test_one_that_is_not_split_asks_how_many_to_hold_out(tmp_path: Path, store: Store) -> None:
    np.savez(tmp_path / "b.npz", images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.zeros(4, np.int64))
    source = NpzSource(source="npz", path=str(tmp_path / "b.npz"), labels=("cat", "dog")).pinned()
    with pytest.raises(DataError, match=r"is not split .*data.val_per_class and data.test_per_class"):
        loaded(source, store)


def test_a_shift_is_the_sample_s_own_whatever_batch_it_comes_in() -> None:
    x = torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(9)
    whole = shift(x, rows)
    part = shift(x[[7, 3]], rows[[7, 3]])
    assert torch.equal(part, whole[[7, 3]])
    assert 0 <= float(whole.min()) <= float(whole.max()) <= 1
    assert bool((whole != x).flatten(1).any(1).all())


def test_the_three_shifts_are_noise_blur_and_less_contrast() -> None:
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    noisy, blurred, faint = shift(x, torch.arange(3))
    assert float((noisy - x[0]).std()) == pytest.approx(0.08, abs=0.01)
    assert float(blurred.std()) < 0.5 * float(x[1].std())
    assert float(faint.std()) == pytest.approx(0.5 * float(x[2].std()), rel=1e-3)
