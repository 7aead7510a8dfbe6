"""Arrays in a safetensors file that are larger than memory: written row by row, and read by the rows asked for."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

NAMES = {"uint8": "U8", "int64": "I64", "float32": "F32"}
DTYPES = {name: dtype for dtype, name in NAMES.items()}


def write(
    path: Path, arrays: Mapping[str, tuple[DTypeLike, tuple[int, ...]]], parts: Sequence[Iterable[NDArray[Any]]]
) -> None:
    """A new file with these arrays (dtype, shape), each filled from its part, row by row or in larger pieces."""
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
        for part in parts:
            for rows in part:
                file.write(np.ascontiguousarray(rows).data)
        if file.tell() != 8 + len(text) + offset:
            raise ValueError(f"{path}: {file.tell()} bytes were written, {8 + len(text) + offset} were announced")


def mapped(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, of which only those parts are read that are looked at."""
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
            found[name] = np.memmap(path, dtype, "r", 8 + length + begin, shape)
    return found
