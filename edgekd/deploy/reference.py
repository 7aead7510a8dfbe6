"""What a hub graph answers on some samples: what every runtime of it is held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

Array = NDArray[Any]
FILE = "reference.safetensors"


@dataclass(frozen=True)
class Reference:
    """
    `feeds` by input and `answers` [N, ...] as the graph's own arithmetic has them: torch's, or unfused float kernels.

    `floats` is what the float graph answers that a quantised one was made of; None where it is not known, or where
    the graph is that one.
    """

    feeds: Mapping[str, Array] = field(repr=False)
    answers: Array = field(repr=False)
    floats: Array | None = field(default=None, repr=False)


def write(reference: Reference, folder: Path) -> None:
    tensors = {f"in.{name}": np.ascontiguousarray(array) for name, array in reference.feeds.items()}
    tensors["answers"] = np.ascontiguousarray(reference.answers)
    if reference.floats is not None:
        tensors["floats"] = np.ascontiguousarray(reference.floats)
    save_file(tensors, folder / FILE)


def read(path: Path) -> Reference:
    tensors = load_file(path)
    feeds = {name.removeprefix("in."): array for name, array in tensors.items() if name.startswith("in.")}
    return Reference(feeds, tensors["answers"], tensors.get("floats"))
