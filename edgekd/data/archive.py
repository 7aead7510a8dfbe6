"""Samples for a model as it is: images, or what it reads by name, with labels or without."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from edgekd.data.arrays import Header, read_archive
from edgekd.data.npz import as_pixels
from edgekd.data.stages import Archive, Split
from edgekd.engine.digest import digest_file
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import DataError

Array = NDArray[Any]
LABELS = ("labels", "y")
RULE = "by sha256 of the samples: every other one is test, the rest val; calibration is val, or a file of its own"


def run(settings: Archive, _inputs: Mapping[str, Artifact], work: Work) -> None:
    arrays = read(settings, settings.path, settings.sha256)
    order = by_content(next(array for name, array in arrays.items() if name != "labels"))
    parts = {"test": order[::2][: settings.most], "val": order[1::2][: settings.most]}
    splits: dict[Split, dict[str, Array]] = {
        "val": {name: array[parts["val"]] for name, array in arrays.items()},
        "test": {name: array[parts["test"]] for name, array in arrays.items()},
    }
    splits["train"] = splits["val"]
    if settings.calibration is not None:
        apart = read(settings, settings.calibration, settings.calibration_sha256)
        inputs = {name: array for name, array in apart.items() if name != "labels"}
        mixed = by_content(next(iter(inputs.values())))  # the first of a sorted file would all be of one class
        splits["train"] = {name: array[mixed] for name, array in inputs.items()}
    tensors = {f"{s}.{name}": np.ascontiguousarray(a) for s, part in splits.items() for name, a in part.items()}
    save_file(tensors, work.out / "data.safetensors")
    about = {"schema": 1, "rule": RULE, "splits": {s: len(next(iter(part.values()))) for s, part in splits.items()}}
    (work.out / "dataset.json").write_text(json.dumps(about, indent=1), "utf-8")


def pixels_among(found: Mapping[str, Header], inputs: Mapping[str, str]) -> str | None:
    """
    Which array holds pixels, given the model's inputs and their dtypes; None where it holds what they read.

    Bytes for a model that reads floats are pixels, even under its input's name.
    """
    if len(inputs) == 1:
        (name, dtype), *_ = inputs.items()
        for candidate in ("images", "x", name):
            if candidate in found and _is_pixels(found[candidate], candidate, name, dtype):
                return candidate
    return None


def _is_pixels(array: Header, candidate: str, name: str, dtype: str) -> bool:
    """Bytes for a model that reads floats; and `images`, unless they are floats for an input of that name."""
    bytes_for_floats = array.dtype == np.uint8 and dtype != "uint8"
    return bytes_for_floats or (candidate == "images" and not (candidate == name and array.dtype.kind == "f"))


def read(settings: Archive, where: str, sha256: str | None) -> dict[str, Array]:
    """What an archive has for the model, each [N, ...], and `labels` as int64 where it has them."""
    path = Path(where)
    if digest_file(path) != sha256:
        raise DataError(f"{path}: changed while the export began; run it again")
    found = read_archive(path)
    wanted = (settings.images,) if settings.images else settings.inputs
    if missing := [name for name in wanted if name not in found]:
        raise DataError(
            f"{path}: has {', '.join(found) or 'nothing'}, and {missing[0]!r} is read; give an array of that name"
        )
    if settings.images:
        arrays: dict[str, Array] = {"images": as_pixels(found[settings.images])}
    else:
        arrays = {name: found[name] for name in settings.inputs}
    labels = next((found[name] for name in LABELS if name in found and name not in wanted), None)
    if labels is not None:
        arrays["labels"] = _as_labels(path, labels)
    return _checked(path, arrays)


def by_content(rows: Array) -> NDArray[np.intp]:
    """Row numbers in the order of the rows' sha256: the same wherever the same samples are, in whatever order."""
    return np.argsort([hashlib.sha256(np.ascontiguousarray(row).tobytes()).hexdigest() for row in rows])


def _as_labels(path: Path, labels: Array) -> NDArray[np.int64]:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: labels: {labels.dtype} {list(labels.shape)}; one whole number a sample is needed")
    return labels.astype(np.int64)


def _checked(path: Path, arrays: dict[str, Array]) -> dict[str, Array]:
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise DataError(f"{path}: {told}; each sample needs one of each")
    if min(counts.values()) < 4:
        raise DataError(f"{path}: {min(counts.values())} samples; half of them decide, half are judged: give more")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"{path}: {name}: {int((~np.isfinite(array)).sum())} values are NaN or infinite")
    return arrays
