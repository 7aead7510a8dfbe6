"""What a hub graph answers on some samples: what every runtime of it is held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

Array = NDArray[Any]
FILE = "reference.safetensors"
PROBED = 16  # samples that layers are compared on


@dataclass(frozen=True)
class Reference:
    """
    `feeds` by input and `answers` [N, ...] as the graph's own arithmetic has them: torch's, or unfused float kernels.

    `floats` is what the float graph answers that a quantised one was made of; None where it is not known, or where
    the graph is that one. `layers` is what torch computes for quantised activations, by the graph's names, on the
    first `PROBED` samples; empty for graphs that come without torch.
    """

    feeds: Mapping[str, Array] = field(repr=False)
    answers: Array = field(repr=False)
    floats: Array | None = field(default=None, repr=False)
    layers: Mapping[str, Array] = field(default_factory=dict, repr=False)


def first(known: Reference, samples: int) -> Reference:
    """The answers on so many samples alone, for runtimes that are slow to ask."""
    return Reference({}, known.answers[:samples], None if known.floats is None else known.floats[:samples])


def write(reference: Reference, folder: Path) -> None:
    tensors = {f"in.{name}": np.ascontiguousarray(array) for name, array in reference.feeds.items()}
    tensors["answers"] = np.ascontiguousarray(reference.answers)
    tensors |= {f"layer.{name}": np.ascontiguousarray(array) for name, array in reference.layers.items()}
    if reference.floats is not None:
        tensors["floats"] = np.ascontiguousarray(reference.floats)
    save_file(tensors, folder / FILE)


def read(path: Path) -> Reference:
    tensors = load_file(path)
    feeds, layers = (
        {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
        for prefix in ("in.", "layer.")
    )
    return Reference(feeds, tensors["answers"], tensors.get("floats"), layers)


def dequantised(graph: onnx.ModelProto) -> list[str]:
    """The activations that are quantised: what the DequantizeLinear nodes inside of the graph make."""
    constants = {tensor.name for tensor in graph.graph.initializer}
    outputs = {output.name for output in graph.graph.output}
    return [
        node.output[0]
        for node in graph.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] not in constants and node.output[0] not in outputs
    ]
