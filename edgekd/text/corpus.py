"""Texts of any source, with or without classes, and their splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data import huggingface, split, table
from edgekd.data.listing import SPLITS, split_of
from edgekd.data.stages import Parts, Split
from edgekd.errors import DataError, first_line
from edgekd.text import docstrings
from edgekd.text.sources import DocstringsSource, LinesSource, TextHuggingFaceSource, TextSource, TextTableSource

FEWEST = 3  # texts of a class: one for each split


@dataclass(frozen=True)
class Corpus:
    """
    Texts, and where there are classes the number of each text's, [N], with the classes' names.

    An empty text is a text: its embedding is that of [CLS] and [SEP] alone.
    """

    texts: list[str]
    labels: list[int] | None = None
    names: tuple[str, ...] = ()
    splits: list[Split | None] = field(default_factory=list)  # as the source gives them; None: by the rule
    about: dict[str, Any] = field(default_factory=dict)

    def rows(self, parts: Parts) -> dict[Split, NDArray[np.intp]]:
        """Row numbers of each split, which follow from what the texts say. Raises DataError."""
        given: Sequence[Split | None] = self.splits or [None] * len(self.texts)
        labels = np.array(self.labels if self.labels is not None else [0] * len(self.texts), np.int64)
        return split.by_shares(self.digests(), labels, given, parts, self.names or ("text",), "text")

    def digests(self) -> list[str]:
        return [hashlib.sha256(text.encode()).hexdigest() for text in self.texts]


def read(source: TextSource) -> Corpus:
    """Raises DataError for what is no text, has none, lacks a column, or has one class only."""
    if isinstance(source, DocstringsSource) and source.label:
        return _by_package(source)
    if isinstance(source, DocstringsSource):
        found, versions = docstrings.sentences(source.packages or docstrings.PACKAGES)
        return Corpus(found[: source.limit], about={"source": "docstrings", "versions": versions})
    if isinstance(source, LinesSource):
        return Corpus(lines(Path(source.path)), about={"source": "lines"})
    if isinstance(source, TextTableSource):
        return _of_table(source)
    return _of_huggingface(source)


def _by_package(source: DocstringsSource) -> Corpus:
    names = source.packages or docstrings.PACKAGES
    texts, labels, versions = docstrings.by_package(names)
    texts, labels = texts[: source.limit], labels[: source.limit]
    check_classes("docstrings", labels, names)
    return Corpus(texts, labels, names, about={"source": "docstrings", "versions": versions})


def lines(path: Path) -> list[str]:
    """The lines that are not empty."""
    found = [line.strip() for line in utf8(path).splitlines() if line.strip()]
    if not found:
        raise DataError(f"{path}: is empty; give it a text a line")
    return found


def utf8(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}; save it as UTF-8"
        ) from None


def jsonl(path: Path) -> dict[str, list[Any]]:
    """Columns of a file with a JSON object a line; the first row says which there are."""
    rows = []
    for number, line in enumerate(utf8(path).splitlines(), 1):
        if line.strip():
            rows.append(_object(path, number, line))
    if not rows:
        raise DataError(f"{path}: is empty; give it a JSON object a line")
    return {name: [row.get(name) for row in rows] for name in rows[0]}


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}: line {number} is no JSON: {first_line(error)}") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}: line {number} is {line.strip()[:40]!r}; write an object like {{'text': ...}}")
    return row


def _of_table(source: TextTableSource) -> Corpus:
    path = Path(source.path)
    wanted = [*source.text, *([source.label] if source.label else []), *([source.split] if source.split else [])]
    if path.suffix == ".jsonl":
        columns: Mapping[str, Sequence[Any]] = jsonl(path)
        _need(str(path), wanted, columns)
    else:
        if path.suffix == ".csv" and not utf8(path).strip():
            raise DataError(f"{path}: is empty; give it a header and a row a text")
        _need(str(path), wanted, table.names_of(path))
        columns = {name: table.column_of(path, name) for name in wanted}
    words = list(columns[source.split]) if source.split else []
    splits: list[Split | None] = [split_of(f"{path}: row {row + 1}", str(word)) for row, word in enumerate(words)]
    return _made(str(path), [columns[name] for name in source.text], source.label and columns[source.label],
                 source.labels, splits or [None] * len(columns[source.text[0]]))  # fmt: skip


def _of_huggingface(source: TextHuggingFaceSource) -> Corpus:
    parts = huggingface.splits_of(source.path, source.config, source.revision, source.label)
    texts: list[list[Any]] = [[] for _ in source.text]
    labels: list[Any] = []
    splits: list[Split | None] = []
    names: tuple[str, ...] = ()
    for name, part in parts.items():
        where = f"data.path: {source.path}"
        _need(where, [*source.text, *([source.label] if source.label else [])], part.column_names)
        for column, held in zip(source.text, texts, strict=True):
            held += part[column]
        if source.label:
            names = names or tuple(getattr(part.features[source.label], "names", ()))
            labels += part[source.label]
        splits += [None if len(parts) == 1 else SPLITS[name]] * len(part)
    return _made(f"data.path: {source.path}", texts, labels if source.label else None, names, splits)


def _need(where: str, wanted: Sequence[str], there: Collection[str]) -> None:
    if missing := [name for name in wanted if name not in there]:
        raise DataError(f"{where}: has no column {missing[0]!r}, only {', '.join(there) or 'nothing'}")


def _made(
    where: str, columns: Sequence[Sequence[Any]], labels: Sequence[Any] | None, names: Sequence[str],
    splits: Sequence[Split | None],
) -> Corpus:  # fmt: skip
    """Of several columns the texts follow each other, each with its row's class and split."""
    texts: list[str] = []
    for column in columns:
        for row, text in enumerate(column):
            if not isinstance(text, str):
                raise DataError(f"{where}: row {row + 1} has {text!r} for a text; give it one, or leave it out")
            texts.append(text)
    if not texts:
        raise DataError(f"{where}: has no rows")
    every = list(splits) * len(columns)
    if labels is None:
        return Corpus(texts, splits=every, about={"source": where})
    for row, label in enumerate(labels):
        if label is None or str(label).strip() == "":
            raise DataError(f"{where}: row {row + 1} has no label; give it its class, or leave it out")
    found, numbers = table.classes(where, list(labels), tuple(names))
    check_classes(where, numbers, found)
    return Corpus(texts, numbers * len(columns), found, every, {"source": where})


def check_classes(where: str, labels: Sequence[int], names: tuple[str, ...]) -> None:
    """Raises DataError for one class only, and for a class of fewer texts than there are splits."""
    counts = np.bincount(labels, minlength=len(names))
    if (counts > 0).sum() < 2:
        only = names[int(counts.argmax())]
        raise DataError(f"{where}: all texts are of class {only!r}; two are needed")
    for name, count in zip(names, counts, strict=True):
        if 0 < count < FEWEST:
            raise DataError(f"{where}: class {name!r} has {count} texts; {FEWEST} are the least, one for each split")
