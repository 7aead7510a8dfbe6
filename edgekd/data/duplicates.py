"""Pictures of the test split that are nearly in the training split: resized, compressed again, slightly brighter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

SIDE = 16
NEAR = 2.5  # root mean square of gray levels, of 255, between two thumbnails
FLAT = 4.0  # deviation of gray levels below which a picture shows too little to tell
CHUNK = 2048


def thumbnails(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """
    uint8 [H, W, C] each, of any size, to gray uint8 [N, 16, 16]: means of four by four pixels, spread over all of it.

    Gray is green, which is most of it.
    """
    green = [image[_spread(image.shape[0])][:, _spread(image.shape[1]), image.shape[2] // 2] for image in images]
    blocks = np.stack(green).reshape(len(green), SIDE, 4, SIDE, 4)
    return np.asarray(blocks.mean((2, 4)).round().astype(np.uint8))


@cache
def _spread(side: int) -> NDArray[np.intp]:
    return np.asarray(np.linspace(0, side - 1, 4 * SIDE).round().astype(np.intp))


def between(thumbnails: NDArray[np.uint8], train: NDArray[np.intp], test: NDArray[np.intp]) -> list[tuple[int, int]]:
    """
    For each row of `test` that has one, the nearest row of `train`: (test, train). Mirrored copies count as well.

    The mean is taken out first, so that a copy that is brighter is near; pictures of one colour are left out.
    """
    rows = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    mirrored = thumbnails[:, :, ::-1].reshape(len(thumbnails), -1).astype(np.float32)
    centred, turned = (x - x.mean(1, keepdims=True) for x in (rows, mirrored))
    shows = centred.std(1) > FLAT
    train, test = train[shows[train]], test[shows[test]]
    found = []
    for start in range(0, len(test), CHUNK):
        some = test[start : start + CHUNK]
        nearest = np.full(len(some), np.inf, np.float32)
        which = np.zeros(len(some), np.intp)
        for first in range(0, len(train), CHUNK):
            among = train[first : first + CHUNK]
            for x in (centred, turned):
                apart = _square_distances(x[some], centred[among])
                best = apart.argmin(1)
                value = apart[np.arange(len(some)), best]
                nearer = value < nearest
                nearest[nearer], which[nearer] = value[nearer], among[best[nearer]]
        close = np.sqrt(nearest.clip(min=0) / SIDE**2) <= NEAR
        found += [(int(a), int(b)) for a, b in zip(some[close], which[close], strict=True)]
    return found


def _square_distances(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T)
