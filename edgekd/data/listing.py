"""What every source of pictures comes down to: items that can be decoded, their classes, and given splits."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgekd.data.stages import Split
from edgekd.errors import DataError

SPLITS: Mapping[str, Split] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test",
}  # fmt: skip


class Items(Protocol):
    """Pictures by number: a file, the bytes of one, an array uint8 [H, W, C] or a PIL image."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Any: ...


@dataclass(frozen=True)
class Listing:
    items: Items
    told: Sequence[str]  # what each is called in a sentence: its path, or its row
    labels: Sequence[int]
    names: tuple[str, ...]  # of the classes, in the order of their numbers
    splits: Sequence[Split | None]  # None: to be made by the rule
    threads: bool = True  # whether several items may be read at once


def in_order(where: str, found: Sequence[str]) -> tuple[str, ...]:
    """Classes in the order of their names. Raises DataError for fewer than two, and for two spellings of one."""
    names = tuple(sorted(set(found)))
    if len(names) < 2:
        raise DataError(f"{where}: has {len(names)} class{'es' * (not names)}: {', '.join(names)}; two are needed")
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(_bare(name), name)
        if other != name:
            raise DataError(f"{where}: {other!r} and {name!r} look like two spellings of one class; rename one of them")
    return names


def split_of(where: str, word: str) -> Split:
    if word.lower() not in SPLITS:
        raise DataError(f"{where}: {word!r} is no split; write train, val or test")
    return SPLITS[word.lower()]


def below(folder: Path, name: str) -> Path:
    """The file that a table names, which has to lie in the table's folder. Raises DataError."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise DataError(f"{folder}: {name!r} lies outside of this folder; put the pictures beside the table")
    return path


def _bare(name: str) -> str:
    """Without case, and with any of space, underscore and hyphen for each other; marks that tell C from C++ stay."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(re.split(r"[\s_-]+", plain)).strip()
