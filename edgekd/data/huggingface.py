"""Datasets of the Hugging Face hub, or folders in their formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekd.data.listing import SPLITS, Listing
from edgekd.data.stages import HuggingFaceSource, Split
from edgekd.data.table import classes
from edgekd.errors import ConfigError, DataError, UnavailableError, first_line


def listing(source: HuggingFaceSource) -> Listing:
    parts = splits_of(source.path, source.config, source.revision, source.label)
    items, labels = _Chained([]), list[Any]()
    splits: list[Split | None] = []
    names: tuple[str, ...] = ()
    single = len(parts) == 1
    for name, part in parts.items():
        for column in (source.image, source.label):
            if column not in part.column_names:
                raise DataError(f"data.path: {source.path}: no column {column!r}, only {', '.join(part.column_names)}")
        names = names or tuple(getattr(part.features[source.label], "names", ()))
        items.parts.append(_Pictures(_undecoded(part, source.image), source.image))
        labels += part[source.label]
        splits += [None if single else SPLITS[name]] * len(part)
    if bare := [number for number, label in enumerate(labels) if _is_hidden(label)]:
        raise DataError(f"data.path: {source.path}: row {bare[0] + 1} has no {source.label}; leave it out")
    names, numbers = classes(f"data.path: {source.path}", labels, names)
    told = [f"row {row + 1}" for row in range(len(labels))]
    return Listing(items, told, numbers, names, splits)


def splits_of(path: str, config: str | None, revision: str | None, label: str | None) -> dict[str, Any]:
    """The splits of a dataset by name, without those whose labels are kept back. Raises ConfigError, DataError."""
    try:
        import datasets
    except ImportError as error:
        raise UnavailableError("source huggingface needs datasets; pip install 'edgekd[data]'") from error
    datasets.disable_progress_bars()
    folder = Path(path)
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            found = datasets.load_from_disk(path)
        else:
            found = datasets.load_dataset(path, config, revision=revision)
    except Exception as error:
        hint = "" if folder.exists() else "; HF_HUB_OFFLINE=0 lets edgekd fetch it from the Hugging Face hub"
        raise ConfigError(f"data.path: {path}: does not load: {first_line(error)}{hint}") from error
    if not isinstance(found, dict):
        return {"train": found}
    known = {name: part for name, part in found.items() if name in SPLITS}
    # test splits of competitions keep their labels back: another is made by the rule
    shown = {name: part for name, part in known.items() if label is None or not _all_hidden(part, label)}
    if not shown:
        raise DataError(f"data.path: {path}: splits {', '.join(found)}; none is train, validation or test")
    return shown


def _all_hidden(part: Any, column: str) -> bool:
    return column in part.column_names and len(part) > 0 and all(map(_is_hidden, part[column]))


def _is_hidden(label: Any) -> bool:
    return label is None or (isinstance(label, int) and label < 0)


def _undecoded(part: Any, column: str) -> Any:
    """Pictures as the bytes of their files: they are decoded here, all alike."""
    import datasets

    if isinstance(part.features[column], datasets.Image):
        return part.cast_column(column, datasets.Image(decode=False))
    return part


class _Pictures:
    def __init__(self, part: Any, column: str) -> None:
        self._part, self._column = part, column

    def __len__(self) -> int:
        return len(self._part)

    def __getitem__(self, number: int) -> Any:
        value = self._part[number][self._column]
        if isinstance(value, dict):
            return value["bytes"] or (Path(value["path"]) if value["path"] else None)
        return value


class _Chained:
    def __init__(self, parts: list[_Pictures]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, number: int) -> Any:
        for part in self.parts:
            if number < len(part):
                return part[number]
            number -= len(part)
        raise IndexError(number)
