"""Texts and pairs as artifacts: JSON, so that a person can read what a student learnt from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data.stages import Split

FILE = "texts.json"
PAIRS = "pairs.json"


@dataclass(frozen=True)
class Texts:
    """By split: texts, and where there are classes the number of each text's; the classes' names."""

    texts: dict[Split, list[str]]
    labels: dict[Split, list[int]] | None
    names: tuple[str, ...]
    about: dict[str, Any]

    def write(self, folder: Path) -> None:
        told = {"schema": 1, "texts": self.texts, "labels": self.labels, "names": self.names, "about": self.about}
        (folder / FILE).write_text(json.dumps(told, ensure_ascii=False), "utf-8")


def read(folder: Path) -> Texts:
    told = json.loads((folder / FILE).read_text("utf-8"))
    return Texts(told["texts"], told["labels"], tuple(told["names"]), told["about"])


@dataclass(frozen=True)
class Scored:
    """Pairs of texts of a split, and how alike people find them, [N]."""

    first: list[str]
    second: list[str]
    scores: NDArray[np.float64]


def write_pairs(split: dict[Split, Scored], folder: Path) -> None:
    told = {name: [one.first, one.second, one.scores.tolist()] for name, one in split.items()}
    (folder / PAIRS).write_text(json.dumps({"schema": 1, **told}, ensure_ascii=False), "utf-8")


def read_pairs(folder: Path, split: Split) -> Scored:
    first, second, scores = json.loads((folder / PAIRS).read_text("utf-8"))[split]
    return Scored(first, second, np.asarray(scores, np.float64))


def all_of(folder: Path) -> set[str]:
    """Every text of all pairs."""
    told = json.loads((folder / PAIRS).read_text("utf-8"))
    return {text for name in ("val", "test") for side in told[name][:2] for text in side}
