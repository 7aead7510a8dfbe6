"""Reading numpy files from outside: never a pickle, and one sentence for whatever is wrong with them."""

from __future__ import annotations

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
