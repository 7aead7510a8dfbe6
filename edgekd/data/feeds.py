"""What a model reads of the samples that are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data.dataset import preprocess, resized
from edgekd.data.signature import TensorIn
from edgekd.errors import DataError

Array = NDArray[Any]
TO_NHWC = (0, 2, 3, 1)


def feeds(arrays: Mapping[str, Array], inputs: Sequence[TensorIn]) -> dict[str, Array]:
    """[N, ...] by input: `images` through its preprocessing, else the array of its name. Raises DataError."""
    return {spec.name: laid_out(_read(arrays, spec), spec) for spec in inputs}


def laid_out(x: Array, spec: TensorIn) -> Array:
    """Samples [N, C, H, W] in the layout of an input; whatever is no image, or uint8 already, stays as it is."""
    turns = spec.layout == "NHWC" and x.ndim == 4 and not (spec.preprocess and spec.preprocess.inside)
    return np.ascontiguousarray(x.transpose(TO_NHWC)) if turns else np.ascontiguousarray(x)


def _read(arrays: Mapping[str, Array], spec: TensorIn) -> Array:
    if spec.preprocess is not None and "images" in arrays:
        if spec.preprocess.inside:
            return resized(arrays["images"], spec.preprocess.model_dump())
        return preprocess(arrays["images"], spec.preprocess)
    if spec.name not in arrays:
        raise DataError(f"data: has {', '.join(arrays) or 'no arrays'}, and the model reads {spec.name!r}")
    return arrays[spec.name]
