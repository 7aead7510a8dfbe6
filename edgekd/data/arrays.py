"""Reading numpy files from outside: never a pickle, and one sentence for whatever is wrong with them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import DataError


def read_archive(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a .npz, each with one axis at least. Raises DataError."""
    loaded = _load(path)
    if not isinstance(loaded, dict):
        raise DataError(f"{path}: holds a single array; an archive (.npz) with names is needed")
    for name, array in loaded.items():
        if array.ndim == 0:
            raise DataError(f"{path}: {name} is a single number; arrays have samples along their first axis")
    return loaded


def read_arrays(path: Path, only: str) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz, or the one of a .npy under the name `only`. Raises DataError."""
    loaded = _load(path)
    return loaded if isinstance(loaded, dict) else {only: loaded}


@dataclass(frozen=True)
class Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def headers(path: Path) -> dict[str, Header]:
    """The arrays of a .npz by name, without their values. Raises DataError."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy"): _header(archive, name) for name in archive.namelist()}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a numpy archive (.npz) that can be read safely: {error}") from error


def _header(archive: zipfile.ZipFile, name: str) -> Header:
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(file)
        return Header(tuple(int(axis) for axis in shape), dtype)


def _load(path: Path) -> dict[str, NDArray[Any]] | NDArray[Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Exception as error:
        raise DataError(f"{path}: not a numpy file that can be read safely: {error}") from error
