"""What an open model answers on many samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import ConfigError
from edgekd.hardware.runtime import Session, check_feeds

Array = NDArray[Any]


def predict(model: str, session: Session, feeds: Mapping[str, Array], batch: int) -> Array:
    """The first output [N, ...] for arrays [N, ...] by input, in batches of `batch` or of the one that is fixed."""
    described = session.describe()
    first = described.inputs[0].shape[0] if described.inputs[0].shape else "?"
    chunk = first if isinstance(first, int) else batch
    samples = len(next(iter(feeds.values())))
    check_feeds(model, described, {name: _rows(array, 0, chunk) for name, array in feeds.items()})
    found = []
    for start in range(0, samples, chunk):
        answer = session.run({name: _rows(array, start, chunk) for name, array in feeds.items()})[0]
        if answer.ndim == 0 or len(answer) != chunk or answer.dtype.kind not in "biuf":
            raise ConfigError(
                f"{model}: output {described.outputs[0].name!r} is {answer.dtype} {list(answer.shape)} for "
                f"{chunk} samples; an answer for each is needed"
            )
        found.append(np.array(answer[: samples - start]))
    return np.concatenate(found)


def _rows(array: Array, start: int, count: int) -> Array:
    """`count` rows from `start` on; the last one again where there are too few, for models of a fixed batch."""
    return array[np.minimum(np.arange(start, start + count), len(array) - 1)]
