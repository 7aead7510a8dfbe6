"""Arrays in a safetensors file that are larger than memory: written row by row, and read by the rows asked for."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

NAMES = {"uint8": "U8", "int64": "I64", "float32": "F32"}
DTYPES = {name: dtype for dtype, name in NAMES.items()}


def create(path: Path, arrays: Mapping[str, tuple[DTypeLike, tuple[int, ...]]]) -> dict[str, NDArray[Any]]:
    """A new file with these arrays (dtype, shape), mapped so that they can be filled."""
    header, offset = {}, 0
    for name, (dtype, shape) in arrays.items():
        size = int(np.dtype(dtype).itemsize * np.prod(shape, dtype=np.int64))
        told = NAMES[np.dtype(dtype).name]
        header[name] = {"dtype": told, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)
        if offset and hasattr(os, "posix_fallocate"):  # or a full disk is found when a page is written: a bus error
            os.posix_fallocate(file.fileno(), 0, 8 + len(text) + offset)
    return _mapped(path, "r+")


def mapped(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, of which only those parts are read that are looked at."""
    return _mapped(path, "r")


def _mapped(path: Path, mode: Any) -> dict[str, NDArray[Any]]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    found: dict[str, NDArray[Any]] = {}
    for name, told in header.items():
        if name == "__metadata__":
            continue
        dtype, shape = DTYPES[told["dtype"]], tuple(told["shape"])
        begin, end = told["data_offsets"]
        if begin == end:
            found[name] = np.empty(shape, dtype)  # nothing can be mapped of nothing
        else:
            found[name] = np.memmap(path, dtype, mode, 8 + length + begin, shape)
    return found
