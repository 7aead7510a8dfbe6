"""How wide the layers of a module are that was made smaller: what its file or config no longer says."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import nn

from edgekd.settings import Settings

FILE = "structure.json"
Size = Literal[
    "in_channels", "out_channels", "groups", "in_features", "out_features", "num_features", "num_channels",
    "normalized_shape",
]  # fmt: skip


class Structure(Settings):
    """`layers`: what torch's layers say of their sizes, by path; `tensors`: the shape of every weight and buffer."""

    schema_version: Literal[1] = 1
    layers: dict[str, dict[Size, int | tuple[int, ...]]]  # a file sets these and no other attributes
    tensors: dict[str, tuple[int, ...]]


def structure_of(net: nn.Module) -> Structure:
    layers = {name: _sizes(layer) for name, layer in net.named_modules()}
    return Structure(
        layers={name: sizes for name, sizes in layers.items() if sizes},
        tensors={name: tuple(value.shape) for name, value in net.state_dict().items()},
    )


def reshape(net: nn.Module, structure: Structure) -> None:
    """In place: layers of these sizes, with weights to be filled."""
    for name, sizes in structure.layers.items():
        layer = net.get_submodule(name)
        for what, size in sizes.items():
            setattr(layer, what, size)
    for name, shape in structure.tensors.items():
        place, _, leaf = name.rpartition(".")
        layer = net.get_submodule(place)
        old: Any = getattr(layer, leaf)
        if tuple(old.shape) != shape:
            new = torch.zeros(shape, dtype=old.dtype)
            setattr(layer, leaf, nn.Parameter(new) if isinstance(old, nn.Parameter) else new)


def _sizes(layer: nn.Module) -> dict[Size, int | tuple[int, ...]]:
    found: dict[Size, int | tuple[int, ...]] = {}
    for what in get_args(Size):
        value = getattr(layer, what, None)
        if isinstance(value, int | tuple) and not isinstance(value, bool):
            found[what] = value
    return found
