"""Small pictures in folders, tables of them, and a dataset made of either."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgekd.data.dataset import Dataset
from edgekd.data.stages import Preprocess, loading
from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.store import Store

DRAW = np.random.default_rng(0)
SMALL = Preprocess(resize=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)


def picture(height: int = 12, width: int = 10) -> Image.Image:
    return Image.fromarray(DRAW.integers(0, 256, (height, width, 3), np.uint8))


def load(source: Any, tmp_path: Path, preprocess: Preprocess = SMALL, listener: Silent | None = None) -> Dataset:
    stage, settings = loading(source.pinned(), preprocess)
    return Dataset(Builder(Store(tmp_path / "workspace"), listener or Silent()).call(stage, settings, {}))


def write_csv(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path
