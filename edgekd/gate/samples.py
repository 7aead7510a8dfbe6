"""An evaluation set, and what a model answers on it in its own runtime."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data.dataset import preprocess
from edgekd.data.npz import as_pixels
from edgekd.deploy.subject import Subject
from edgekd.engine.digest import digest_file
from edgekd.errors import DataError
from edgekd.hardware.runtime import Described, check_feeds

Array = NDArray[Any]
CHUNK = 64


@dataclass(frozen=True)
class Samples:
    """Arrays by name, each [N, ...], and what is right for each sample [N]."""

    path: Path
    sha256: str
    arrays: Mapping[str, Array]
    targets: Array

    def __len__(self) -> int:
        return len(self.targets)


def read(path: Path) -> Samples:
    """
    A numpy archive: `labels` (whole numbers) or `targets` (any numbers), and what the models read: `images` of 0 to
    255 where they know their preprocessing, else one array an input, under the inputs' names.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"--data {path}: no such file") from None
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise DataError(f"--data {path}: not a numpy archive that can be read safely: {error}") from error
    name = next((name for name in ("labels", "targets") if name in arrays), None)
    if name is None:
        raise DataError(f"--data {path}: has neither `labels` nor `targets`, only {', '.join(arrays) or 'nothing'}")
    targets = arrays.pop(name)
    if targets.ndim != 1 or not len(targets) or targets.dtype.kind not in "iuf":
        raise DataError(f"--data {path}: {name}: {targets.dtype} {list(targets.shape)}; one number a sample is needed")
    for other, array in arrays.items():
        if len(array) != len(targets):
            raise DataError(f"--data {path}: {len(array)} {other} but {len(targets)} {name}; each sample needs both")
    return Samples(path, digest_file(path), arrays, targets)


def feeds(samples: Samples, subject: Subject, described: Described) -> dict[str, Array]:
    """What this model reads of the samples: [N, ...] by input."""
    names = [tensor.name for tensor in described.inputs]
    if all(name in samples.arrays for name in names):
        return {name: samples.arrays[name] for name in names}
    if subject.signature is not None and "images" in samples.arrays and len(names) == 1:
        images = as_pixels(samples.arrays["images"])
        return {names[0]: preprocess(images, subject.signature.inputs[0].preprocess)}
    why = "" if subject.signature else "; `images` serve only models that know their preprocessing: edgekd's own"
    raise DataError(
        f"--data {samples.path}: has {', '.join(samples.arrays) or 'no arrays'}, but {subject.path.name} reads "
        f"{', '.join(map(str, described.inputs))}; give arrays of these names{why}"
    )


def answers(samples: Samples, subject: Subject, described: Described) -> Array:
    """The first output [N, ...], in batches that the model takes."""
    arrays = feeds(samples, subject, described)
    first = described.inputs[0].shape[0] if described.inputs[0].shape else "?"
    chunk = first if isinstance(first, int) else CHUNK
    probe = {name: _rows(array, 0, chunk) for name, array in arrays.items()}
    check_feeds(subject.path.name, described, probe)
    session = subject.open()
    found = []
    for start in range(0, len(samples), chunk):
        batch = {name: _rows(array, start, chunk) for name, array in arrays.items()}
        found.append(np.asarray(session.run(batch)[0])[: len(samples) - start])
    session.close()
    return np.concatenate(found)


def _rows(array: Array, start: int, count: int) -> Array:
    """`count` rows from `start` on; the last one again where there are too few, for models of a fixed batch."""
    return array[np.minimum(np.arange(start, start + count), len(array) - 1)]
