"""What an open model answers on many samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import ConfigError
from edgekd.hardware.runtime import Session, check_feeds

Array = NDArray[Any]


@dataclass(frozen=True)
class Feeds:
    """What a model is to answer: arrays [N, ...] by input, several samples at a time or each alone."""

    arrays: Mapping[str, Array]
    batch: int = 1
    lengths: tuple[int, ...] | None = None  # of each sample along its arrays' second axis; each is answered alone then

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def answered(self, model: str, session: Session) -> Array:
        """The first output [N, ...]."""
        if self.lengths is None:
            return predict(model, session, self.arrays, self.batch)
        return predict_each(model, session, self.arrays, self.lengths)


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


def predict_each(model: str, session: Session, feeds: Mapping[str, Array], lengths: Sequence[int]) -> Array:
    """
    The first output [N, ...] for arrays [N, T, ...] by input, of which a sample reads as much as its length: alone, for
    what is quantised as it comes depends on what else is in the batch, and on padding.
    """
    rows = [
        predict(model, session, {name: array[row : row + 1, :length] for name, array in feeds.items()}, 1)
        for row, length in enumerate(lengths)
    ]
    return np.concatenate(rows)


def _rows(array: Array, start: int, count: int) -> Array:
    """`count` rows from `start` on; the last one again where there are too few, for models of a fixed batch."""
    return array[np.minimum(np.arange(start, start + count), len(array) - 1)]
