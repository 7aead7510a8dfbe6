"""A first look at a person's data, before there is a pipeline: what kind it is, how large and how bright."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.data import table
from edgekd.data.arrays import read_archive
from edgekd.data.folder import pictures_in
from edgekd.data.listing import SPLITS
from edgekd.data.npz import as_labels, as_pixels
from edgekd.errors import ConfigError, DataError

LOOKED_AT = 200  # pictures whose sizes and colours are read
COLUMNS = {
    "image": ("image", "path", "file", "filename", "file_name", "img", "filepath"),
    "label": ("label", "class", "target", "category", "y"),
    "split": ("split", "subset", "fold"),
}


@dataclass
class Seen:
    """`source` as a pipeline says it; sizes (height, width) and colours of some pictures, where any were seen."""

    source: dict[str, Any]
    channels: int | None = None
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    told: str = ""


def look(where: str, labels: tuple[str, ...]) -> Seen:
    """Raises EdgekdError where it is nothing that edgekd reads."""
    path = Path(where)
    if path.is_dir():
        return _folder(path)
    if path.suffix in (".npz", ".csv", ".parquet", ".py") and not path.is_file():
        raise ConfigError(f"--data {where}: no such file")
    if path.suffix == ".npz":
        return _archive(path, labels)
    if path.suffix in (".csv", ".parquet"):
        return _table(path, labels)
    if path.suffix == ".py":
        return Seen({"source": "code", "path": where})
    if not path.exists() and where.count("/") == 1 and not path.parent.exists():
        told = f"{where} is no folder here: it is taken for a dataset of the Hugging Face hub"
        return Seen({"source": "huggingface", "path": where}, told=told)
    raise ConfigError(f"--data {where}: a folder of pictures, .npz, .csv, .parquet, .py or a hub name is needed")


def _folder(path: Path) -> Seen:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return Seen({"source": "huggingface", "path": str(path)})
    files = pictures_in(path)
    if not files:
        raise DataError(f"--data {path}: no pictures in it; put them into {path}/<class>/")
    seen = Seen({"source": "folder", "path": str(path)})
    if not any(file.relative_to(path).parts[0].lower() in SPLITS for file in files):
        seen.source |= {"val_share": 0.15, "test_share": 0.15}
    _look(seen, files[:: max(1, len(files) // LOOKED_AT)])
    return seen


def _table(path: Path, labels: tuple[str, ...]) -> Seen:
    columns = table.names_of(path)
    found = {key: next((name for name in columns if name.lower() in words), None) for key, words in COLUMNS.items()}
    for key in ("image", "label"):
        if found[key] is None:
            raise DataError(
                f"--data {path}: which of {', '.join(columns) or 'no columns'} is the {key}? Call it {key!r}"
            )
    seen = Seen({"source": "table", "path": str(path), **{key: name for key, name in found.items() if name}})
    if labels:
        seen.source["labels"] = list(labels)
    if path.suffix == ".csv":
        names = table.column_of(path, str(found["image"]))
        _look(seen, [path.parent / str(name) for name in names[:: max(1, len(names) // LOOKED_AT)]])
    return seen


def _archive(path: Path, labels: tuple[str, ...]) -> Seen:
    arrays = read_archive(path)
    if missing := [name for name in ("images", "labels") if name not in arrays]:
        raise DataError(f"--data {path}: has no array {missing[0]!r}, only {', '.join(arrays)}")
    images = as_pixels(arrays["images"])
    classes = len(labels) or int(max(arrays["labels"].max(initial=0), 0)) + 1
    numbers = as_labels(arrays["labels"], classes)
    share = max(1, round(0.15 * int(np.bincount(numbers, minlength=classes).min())))
    seen = Seen({
        "source": "npz", "path": str(path), "labels": list(labels) or [str(number) for number in range(classes)],
        "val_per_class": share, "test_per_class": share,
    })  # fmt: skip
    seen.channels = images.shape[-1]
    seen.sizes[(images.shape[1], images.shape[2])] = len(images)
    seen.mean, seen.std = _colours(images[:LOOKED_AT].reshape(-1, seen.channels) / 255)
    return seen


def _look(seen: Seen, files: list[Path]) -> None:
    """Sizes and colours of some pictures; what cannot be read is for `data inspect` to tell."""
    from PIL import Image, ImageOps

    colours, gray = [], True
    for file in files[:LOOKED_AT]:
        try:
            with Image.open(file) as picture:
                upright = ImageOps.exif_transpose(picture)
                seen.sizes[(upright.height, upright.width)] += 1
                gray = gray and upright.mode in ("1", "L", "LA", "I;16")
                colours.append(np.asarray(upright.convert("RGB").resize((16, 16))).reshape(-1, 3) / 255)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue
    if not colours:
        raise DataError(f"{files[0].parent}: none of the {len(files[:LOOKED_AT])} pictures that were tried can be read")
    seen.channels = 1 if gray else 3
    seen.mean, seen.std = _colours(np.concatenate(colours)[:, : seen.channels])


def _colours(values: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = values.mean(0), values.std(0)
    return tuple(float(round(m, 3)) for m in mean), tuple(float(round(max(s, 0.05), 3)) for s in std)
