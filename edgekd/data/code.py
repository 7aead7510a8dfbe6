"""PyTorch datasets from a file of the person's own, which runs only where --allow-code says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekd.data.listing import Listing
from edgekd.data.stages import SPLITS, CodeSource
from edgekd.engine.code import member, run_file
from edgekd.errors import DataError, first_line


def listing(source: CodeSource) -> Listing:
    module = run_file(Path(source.path), source.digest)
    make = member(module, source.function, "data.function")
    try:
        parts = {name: part for name in SPLITS if (part := make(name)) is not None}
        pairs = [(part, number) for part in parts.values() for number in range(len(part))]
        labels = [int(part[number][1]) for part, number in pairs]
    except Exception as error:
        raise DataError(
            f"{source.path}: {source.function}(split) has to give a dataset of (picture, class number), or None: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    if not parts.get("train"):
        raise DataError(f"{source.path}: {source.function}('train') gives nothing to train on")
    names = getattr(module, "classes", None) or getattr(parts["train"], "classes", None)
    if not names:
        names = [str(number) for number in range(max(labels) + 1)]
    if wrong := [label for label in labels if not 0 <= label < len(names)]:
        raise DataError(f"{source.path}: label {wrong[0]}; {len(names)} classes are named: 0 to {len(names) - 1}")
    single = len(parts) == 1
    return Listing(
        items=_Pictures(pairs),
        told=[f"{name} {number}" for name, part in parts.items() for number in range(len(part))],
        labels=labels,
        names=tuple(map(str, names)),
        splits=[None if single else name for name, part in parts.items() for _ in range(len(part))],
        threads=False,
    )


class _Pictures:
    def __init__(self, pairs: list[tuple[Any, int]]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, number: int) -> Any:
        part, place = self._pairs[number]
        return part[place][0]
