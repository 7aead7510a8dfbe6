"""An evaluation set, and what a model answers on it in its own runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data.arrays import read_archive
from edgekd.data.feeds import feeds as feeds_of
from edgekd.data.npz import as_pixels
from edgekd.deploy.subject import Subject
from edgekd.engine.digest import digest_file
from edgekd.errors import DataError
from edgekd.hardware.answering import Feeds, predict
from edgekd.hardware.remote.device import RemoteDevice
from edgekd.hardware.runtime import Described

Array = NDArray[Any]
CHUNK = 64


@dataclass(frozen=True)
class Samples:
    """Arrays by name, each [N, ...], and what is right for each sample [N]: a class, or any number."""

    path: Path
    sha256: str
    arrays: Mapping[str, Array]
    targets: Array
    classes: bool

    def __len__(self) -> int:
        return len(self.targets)


def read(path: Path) -> Samples:
    """
    A numpy archive: `labels` (whole numbers) or `targets` (any numbers), and what the models read: `images` of 0 to
    255 where they know their preprocessing, else one array an input, under the inputs' names.
    """
    arrays = read_archive(path)
    name = next((name for name in ("labels", "targets") if name in arrays), None)
    if name is None:
        raise DataError(f"--data {path}: has neither `labels` nor `targets`, only {', '.join(arrays) or 'nothing'}")
    targets = arrays.pop(name)
    kinds = "iu" if name == "labels" else "iuf"
    if targets.ndim != 1 or not len(targets) or targets.dtype.kind not in kinds:
        what = "one whole number a sample is needed" if name == "labels" else "one number a sample is needed"
        raise DataError(f"--data {path}: {name}: {targets.dtype} {list(targets.shape)}; {what}")
    if not np.isfinite(targets).all():
        raise DataError(f"--data {path}: {name}: {int((~np.isfinite(targets)).sum())} are NaN or infinite; remove them")
    for other, array in arrays.items():
        if len(array) != len(targets):
            raise DataError(f"--data {path}: {len(array)} {other} but {len(targets)} {name}; each sample needs both")
    return Samples(path, digest_file(path), arrays, targets, name == "labels")


def feeds(samples: Samples, subject: Subject, described: Described) -> dict[str, Array]:
    """What this model reads of the samples: [N, ...] by input."""
    names = [tensor.name for tensor in described.inputs]
    if all(name in samples.arrays for name in names):
        return {name: samples.arrays[name] for name in names}
    spec = subject.signature.inputs[0] if subject.signature else None
    known = spec.preprocess if spec else None
    if spec and known and "images" in samples.arrays and len(names) == 1:
        return feeds_of({"images": as_pixels(samples.arrays["images"])}, [spec.model_copy(update={"name": names[0]})])
    why = "" if known else "; `images` serve only models that know their preprocessing: edgekd's own"
    raise DataError(
        f"--data {samples.path}: has {', '.join(samples.arrays) or 'no arrays'}, but {subject.path.name} reads "
        f"{', '.join(map(str, described.inputs))}; give arrays of these names{why}"
    )


def answers(samples: Samples, subject: Subject, described: Described, there: RemoteDevice | None = None) -> Array:
    """The first output [N, ...], in batches that the model takes; computed on the device, where one is given."""
    arrays = feeds(samples, subject, described)
    if there:
        return there.answers(subject.path, subject.runtime, Feeds(arrays, CHUNK))
    session = subject.open()
    try:
        return predict(subject.path.name, session, arrays, CHUNK)
    finally:
        session.close()
