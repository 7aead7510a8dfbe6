"""Tables with a row a picture: .csv, or .parquet as the Hugging Face hub writes it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekd.data.listing import Items, Listing, below, in_order, split_of
from edgekd.data.stages import TableSource
from edgekd.engine.digest import digest_file, digest_files
from edgekd.errors import DataError, UnavailableError, first_line


def listing(source: TableSource) -> Listing:
    path = Path(source.path)
    columns = _columns(path, [source.image, source.label, *([source.split] if source.split else [])])
    labels = list(columns[source.label])
    for row, label in enumerate(labels):
        if label is None or str(label).strip() == "":
            raise DataError(f"{path}: row {row + 1} has no {source.label}; give it its class, or leave it out")
    names, numbers = classes(str(path), labels, source.labels)
    words = columns[source.split] if source.split else ()
    return Listing(
        items=_Pictures(columns[source.image], path.parent),
        told=[f"row {row + 1}" for row in range(len(labels))],
        labels=numbers,
        names=names,
        splits=[split_of(f"{path}: row {n + 1}", str(word)) for n, word in enumerate(words)] or [None] * len(labels),
    )


def digest(source: TableSource) -> str:
    """Of the table and of all files that it names."""
    path = Path(source.path)
    files = {"": path}
    for row, value in enumerate(_columns(path, [source.image])[source.image]):
        named = value.get("path") if isinstance(value, dict) and not value.get("bytes") else value
        if named is None or named == "":
            raise DataError(f"{path}: row {row + 1} has no {source.image}; leave it out")
        if isinstance(named, str):  # else the picture is in the table itself
            files[named] = below(path.parent, named)
    if missing := [name for name, file in files.items() if not file.is_file()]:
        raise DataError(f"{path}: names {missing[0]!r}, which is not in {path.parent}; {len(missing)} are missing")
    return digest_files(files) if len(files) > 1 else digest_file(path)


def classes(where: str, labels: Sequence[Any], given: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """The classes' names, and the number of each label: a name, or a number where names are `given` for them."""
    words = [str(label).strip() for label in labels]
    if all(re.fullmatch(r"-?[0-9]+", word) for word in words):
        numbers = [int(word) for word in words]
        if given:
            if wrong := [number for number in numbers if not 0 <= number < len(given)]:
                raise DataError(f"{where}: label {wrong[0]}; {len(given)} classes are named: 0 to {len(given) - 1}")
            return tuple(given), numbers
        found = sorted(set(numbers))
        return tuple(map(str, found)), [found.index(number) for number in numbers]
    if given and (strange := sorted(set(words) - set(given))):
        raise DataError(f"{where}: class {strange[0]!r} is not among data.labels: {', '.join(given)}")
    names = tuple(given) or in_order(where, words)
    number = {name: n for n, name in enumerate(names)}
    return names, [number[word] for word in words]


class _Pictures:
    def __init__(self, column: Items, folder: Path) -> None:
        self._column, self._folder = column, folder

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, number: int) -> Path | bytes:
        value = self._column[number]
        if isinstance(value, dict):  # what the hub writes of a picture
            value = value.get("bytes") or value.get("path")
        return value if isinstance(value, bytes) else below(self._folder, str(value))


def _columns(path: Path, wanted: Sequence[str]) -> dict[str, Any]:
    table = _of_csv(path) if path.suffix == ".csv" else _of_parquet(path, wanted)
    if missing := [name for name in wanted if name not in table]:
        raise DataError(f"{path}: has no column {missing[0]!r}, only {', '.join(table) or 'nothing'}")
    found = {name: table[name] for name in wanted}
    if not len(found[wanted[0]]):
        raise DataError(f"{path}: has no rows")
    return found


def _of_csv(path: Path) -> dict[str, Any]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DataError(f"{path}: not a table that can be read: {first_line(error)}") from error
    for line, row in enumerate(rows):
        if len(row) != len(header):
            raise DataError(f"{path}: line {line + 2} has {len(row)} values, the header names {len(header)}")
    return {name: [row[place] for row in rows] for place, name in enumerate(header)}


def column_of(path: Path, name: str) -> Any:
    """One column, by row."""
    return _columns(path, [name])[name]


def names_of(path: Path) -> list[str]:
    """The names of a table's columns."""
    if path.suffix == ".csv":
        return list(_of_csv(path))
    with _parquet(path) as parquet:
        return list(parquet.read_schema(path).names)


def _of_parquet(path: Path, wanted: Sequence[str]) -> dict[str, Any]:
    with _parquet(path) as parquet:
        there = parquet.read_schema(path).names
        table = parquet.read_table(path, columns=[name for name in wanted if name in there], memory_map=True)
    return dict.fromkeys(there) | {name: _Column(table[name]) for name in table.column_names}


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UnavailableError("parquet needs pyarrow, which is not installed; pip install 'edgekd[data]'") from error
    try:
        yield pyarrow.parquet
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a table that can be read: {first_line(error)}") from error


class _Column:
    """One column of a table, whose values become Python's only when they are asked for."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, number: int) -> Any:
        if number >= len(self):
            raise IndexError(number)
        return self._column[number].as_py()
