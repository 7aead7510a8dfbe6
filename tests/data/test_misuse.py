"""What is wrong with pictures, splits and tables is one sentence each."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.pictures import load, picture, write_csv

from edgekd.data.stages import (
    CodeSource,
    FolderSource,
    Preprocess,
    TableSource,
)
from edgekd.errors import ConfigError, DataError, EdgekdError


def _without_classes(photos: Path) -> FolderSource:
    for path in list((photos / "dog").iterdir()):
        path.unlink()
    return FolderSource(source="folder", path=str(photos))


def _without_folders(photos: Path) -> FolderSource:
    for path in list(photos.rglob("*.png")):
        path.unlink()
    return FolderSource(source="folder", path=str(photos))


def _two_spellings(photos: Path) -> FolderSource:
    (photos / "Dog ").mkdir()
    picture().save(photos / "Dog " / "a.png")
    return FolderSource(source="folder", path=str(photos))


def _splits_and_classes(photos: Path) -> FolderSource:
    (photos / "train" / "cat").mkdir(parents=True)
    picture().save(photos / "train" / "cat" / "a.png")
    return FolderSource(source="folder", path=str(photos))


def _no_cell(photos: Path) -> TableSource:
    table = write_csv(photos / "t.csv", [["image", "label"], ["cat/0.png", "cat"], ["", "dog"]])
    return TableSource(source="table", path=str(table))


def _only_a_header(photos: Path) -> TableSource:
    return TableSource(source="table", path=str(write_csv(photos / "t.csv", [["image", "label"]])))


def _empty(photos: Path) -> TableSource:
    (photos / "t.csv").write_text("")
    return TableSource(source="table", path=str(photos / "t.csv"))


def _code(photos: Path, text: str) -> CodeSource:
    (photos / "mine.py").write_text(text)
    return CodeSource(source="code", path=str(photos / "mine.py"))


def _code_of_dicts(photos: Path) -> CodeSource:
    return _code(photos, "def dataset(split):\n    return [{'image': 1}]\n")


def _code_that_reads_nothing(photos: Path) -> CodeSource:
    return _code(photos, "def dataset(split):\n    return [] if split == 'train' else None\n")


def _rare(photos: Path) -> FolderSource:
    (photos / "emu").mkdir()
    picture().save(photos / "emu" / "a.png")
    return FolderSource(source="folder", path=str(photos))


def _no_label(photos: Path) -> TableSource:
    table = write_csv(photos / "t.csv", [["image", "label"], ["cat/0.png", "cat"], ["cat/1.png", ""]])
    return TableSource(source="table", path=str(table))


def _no_column(photos: Path) -> TableSource:
    table = write_csv(photos / "t.csv", [["image", "kind"], ["cat/0.png", "cat"]])
    return TableSource(source="table", path=str(table))


def _outside(photos: Path) -> TableSource:
    table = write_csv(photos / "t.csv", [["image", "label"], ["../../etc/passwd", "cat"]])
    return TableSource(source="table", path=str(table))


def _missing_file(photos: Path) -> TableSource:
    table = write_csv(photos / "t.csv", [["image", "label"], ["cat/none.png", "cat"]])
    return TableSource(source="table", path=str(table))


def _strange_split(photos: Path) -> TableSource:
    rows = [["image", "label", "split"], ["cat/0.png", "cat", "holdout"], ["dog/0.png", "dog", "train"]]
    table = write_csv(photos / "t.csv", rows)
    return TableSource(source="table", path=str(table), split="split")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_without_classes, "has 1 class: cat; two are needed"),
        (_without_folders, "no pictures in folders; put them into .*/<class>/"),
        (_two_spellings, "'Dog ' and 'dog' look like two spellings of one class; rename one"),
        (_splits_and_classes, "'train' is a split and 'cat' is none; keep either splits or classes there"),
        (_no_cell, "row 2 has no image; leave it out"),
        (_only_a_header, "has no rows"),
        (_empty, "has no column 'image', only nothing"),
        (_code_of_dicts, r"has to give a dataset of \(picture, class number\), or None: KeyError"),
        (_code_that_reads_nothing, "gives nothing to train on"),
        (_rare, "class 'emu' has 1 pictures; three are the least"),
        (_no_label, "row 2 has no label; give it its class, or leave it out"),
        (_no_column, "has no column 'label', only image, kind"),
        (_outside, "lies outside of this folder; put the pictures beside the table"),
        (_missing_file, "names 'cat/none.png', which is not in .*; 1 are missing"),
        (_strange_split, "'holdout' is no split; write train, val or test"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_misuse_of_data_is_one_sentence(
    photos: Path, tmp_path: Path, make: Callable[[Path], Any], says: str
) -> None:
    with pytest.raises(EdgekdError, match=says):
        load(make(photos), tmp_path)


def test_pictures_of_several_sizes_need_a_size(photos: Path, tmp_path: Path) -> None:
    picture(30, 30).save(photos / "cat" / "zz.png")
    with pytest.raises(DataError, match=re.escape("pictures of several sizes need preprocess.resize (and crop)")):
        load(FolderSource(source="folder", path=str(photos)), tmp_path, Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3))


def test_a_source_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.path: nowhere: no such folder"):
        FolderSource(source="folder", path="nowhere").pinned()
    with pytest.raises(ConfigError, match=r"a table is \.csv or \.parquet"):
        TableSource(source="table", path="table.xlsx").pinned()
