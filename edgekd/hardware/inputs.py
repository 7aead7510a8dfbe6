"""What a model is fed while it is measured: a file's arrays, or random ones of the shapes that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgekd.data.arrays import read_arrays
from edgekd.errors import ConfigError
from edgekd.hardware.runtime import Array, Described, Tensor, check_feeds, check_shape, numeric

Shapes = Mapping[str, tuple[int, ...]]


def resolved(model: str, described: Described, shapes: Shapes, batch: int | None) -> dict[str, Tensor]:
    """
    Every input with a shape of numbers: the given one, else the model's own with its free first axis at `batch`.

    A given shape's first axis is `batch` too where that axis is free; None leaves both as they are, 1 for free ones.
    Raises ConfigError for an axis that stays free, and for a shape of an input that the model lacks.
    """
    names = [tensor.name for tensor in described.inputs]
    if strange := [name for name in shapes if name not in names]:
        raise ConfigError(f"--shape {strange[0]}: {model} has no such input; its inputs: {', '.join(names)}")
    return {t.name: Tensor(t.name, t.dtype, _resolved(model, t, shapes.get(t.name), batch)) for t in described.inputs}


def batch_of(model: str, described: Described, inputs: Mapping[str, Tensor], wanted: int | None = None) -> int:
    """How many samples one run takes: the first axis of the first input. Refuses another than `wanted`."""
    first = described.inputs[0]
    shape = inputs[first.name].shape
    size = int(shape[0]) if shape else 1
    if wanted is not None and wanted != size:
        raise ConfigError(f"{model}: {first}: its batch is fixed at {size}, so that {wanted} cannot be measured")
    return size


def _resolved(model: str, tensor: Tensor, given: tuple[int, ...] | None, batch: int | None) -> tuple[int, ...]:
    free_batch = bool(tensor.shape) and isinstance(tensor.shape[0], str)
    if given is not None:
        check_shape(model, tensor, given)
        return (batch, *given[1:]) if free_batch and batch is not None else given
    shape = (batch or 1, *tensor.shape[1:]) if free_batch else tensor.shape
    if free := [axis for axis in shape if isinstance(axis, str)]:
        example = ",".join("128" if isinstance(axis, str) else str(axis) for axis in shape)
        raise ConfigError(f"{model}: {tensor}: how long is {free[0]!r}? Say it with --shape {tensor.name}={example}")
    return tuple(int(axis) for axis in shape)


def random_feeds(inputs: Mapping[str, Tensor], seed: int) -> dict[str, Array]:
    """Standard normal numbers; pixels of 0 to 255 for bytes; ones for whole numbers: valid as token ids and masks."""
    draw = np.random.default_rng(seed)
    return {name: _random(tensor, draw) for name, tensor in inputs.items()}


def _random(tensor: Tensor, draw: np.random.Generator) -> Array:
    dtype = numeric(tensor)
    shape = tuple(int(axis) for axis in tensor.shape)
    if dtype.kind == "f":
        return draw.standard_normal(shape).astype(dtype)
    if dtype.itemsize == 1 and dtype.kind in "ui":
        limits = np.iinfo(dtype)
        return draw.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return np.ones(shape, dtype)


def read_feeds(path: Path, model: str, described: Described) -> dict[str, Array]:
    """The arrays of a file: .npz with one array an input, under the inputs' names, or .npy for a single input."""
    arrays = read_arrays(path, described.inputs[0].name)
    check_feeds(model, described, arrays)
    return arrays
