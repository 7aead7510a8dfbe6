"""What a model is fed while it is measured: a file's arrays, or random ones of the shapes that it takes."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgekd.errors import ConfigError, DataError
from edgekd.hardware.runtime import Array, Described, Tensor, check_feeds, check_shape

Shapes = Mapping[str, tuple[int, ...]]


def resolved(model: str, described: Described, shapes: Shapes, batch: int) -> dict[str, Tensor]:
    """
    Every input with a shape of numbers: the given one, else the model's own with its first axis at `batch`.

    Raises ConfigError for an axis that stays free, and for a shape of an input that the model lacks.
    """
    names = [tensor.name for tensor in described.inputs]
    if strange := [name for name in shapes if name not in names]:
        raise ConfigError(f"--shape {strange[0]}: {model} has no such input; its inputs: {', '.join(names)}")
    return {t.name: Tensor(t.name, t.dtype, _resolved(model, t, shapes.get(t.name), batch)) for t in described.inputs}


def _resolved(model: str, tensor: Tensor, given: tuple[int, ...] | None, batch: int) -> tuple[int, ...]:
    if given is not None:
        check_shape(model, tensor, given)
        return given
    shape = tuple(batch if n == 0 and isinstance(axis, str) else axis for n, axis in enumerate(tensor.shape))
    if free := [axis for axis in shape if isinstance(axis, str)]:
        example = ",".join("128" if isinstance(axis, str) else str(axis) for axis in shape)
        raise ConfigError(
            f"{model}: {tensor}: how long is {free[0]!r}? Say it with --shape {tensor.name}={example}, or give --data"
        )
    return tuple(int(axis) for axis in shape)


def random_feeds(inputs: Mapping[str, Tensor], seed: int) -> dict[str, Array]:
    """Standard normal numbers; pixels of 0 to 255 for bytes; ones for whole numbers: valid as token ids and masks."""
    draw = np.random.default_rng(seed)
    return {name: _random(tensor, draw) for name, tensor in inputs.items()}


def _random(tensor: Tensor, draw: np.random.Generator) -> Array:
    dtype = np.dtype(tensor.dtype)
    shape = tuple(int(axis) for axis in tensor.shape)
    if dtype.kind == "f":
        return draw.standard_normal(shape).astype(dtype)
    if dtype.itemsize == 1 and dtype.kind in "ui":
        limits = np.iinfo(dtype)
        return draw.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return np.ones(shape, dtype)


def read_feeds(path: Path, model: str, described: Described) -> dict[str, Array]:
    """The arrays of a file: .npz with one array an input, under the inputs' names, or .npy for a single input."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            arrays = {described.inputs[0].name: loaded}
        else:
            with loaded as archive:
                arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path}: not a numpy file that can be read safely: {error}") from error
    check_feeds(model, described, arrays)
    return arrays
