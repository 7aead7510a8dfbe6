"""The net without some of its units: an ordinary checkpoint, whose config names its widths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.models import checkpoint
from edgekd.models.residual_cnn import ResidualCnnForImageClassification
from edgekd.models.shape import NetShape
from edgekd.prune.places import Units, narrowed, units_of

Kept = Mapping[str, Tensor]  # by place: the numbers of the units that stay, in order


def pruned(model: ResidualCnnForImageClassification, kept: Kept) -> ResidualCnnForImageClassification:
    """A net of its own with the units that stay; blocks without any are gone. It answers as `zeroed` does."""
    shape = model.config.shape
    labels = [model.config.id2label[number] for number in range(model.config.num_labels)]
    smaller = checkpoint.build(
        narrowed(shape, {name: len(stay) for name, stay in kept.items()}), labels, model.config.in_channels, seed=0
    )
    state = dict(model.net.state_dict())
    for units, stay in _places(shape, kept):
        for name, axis in _axes(units, state):
            state[name] = state[name].index_select(axis, channels(units, stay))
    smaller.net.load_state_dict(dict(_renumbered(state, _gone(kept))))
    smaller.train(model.training)
    return smaller


def channels(units: Units, stay: Tensor) -> Tensor:
    """Of units [k] the channels that they are, in order [k x width]."""
    return (stay[:, None] * units.width + torch.arange(units.width)).flatten()


@torch.no_grad()
def zeroed(model: nn.Module, shape: NetShape, kept: Kept) -> None:
    """In place: the same units are there and say nothing; for tests, and for what a removal would do."""
    for units, stay in _places(shape, kept):
        gone = torch.ones(units.size * units.width, dtype=torch.bool)
        gone[channels(units, stay)] = False
        silent = [(name, gone) for name in units.norms]
        if not len(stay) and units.last is not None:
            silent.append((units.last, torch.ones((), dtype=torch.bool)))
        for name, quiet in silent:
            norm: Any = model.get_submodule(f"net.{name}")
            norm.weight[quiet.expand_as(norm.weight)] = 0
            norm.bias[quiet.expand_as(norm.bias)] = 0


def _places(shape: NetShape, kept: Kept) -> Iterator[tuple[Units, Tensor]]:
    for units in units_of(shape, streams=True):
        if units.name in kept:
            yield units, kept[units.name]


def _axes(units: Units, state: Iterable[str]) -> list[tuple[str, int]]:
    """Of every tensor that has these units: along which axis."""
    outputs, inputs = {*units.made, *units.norms}, {f"{name}.weight" for name in units.readers}
    found = []
    for name in state:
        layer, _, what = name.rpartition(".")
        if layer in outputs and what != "num_batches_tracked":
            found.append((name, 0))
        if name in inputs:
            found.append((name, 1))
    return found


def _gone(kept: Kept) -> set[int]:
    return {int(name) for name, stay in kept.items() if not len(stay)}


def _renumbered(state: Mapping[str, Tensor], gone: set[int]) -> Iterator[tuple[str, Tensor]]:
    for name, value in state.items():
        if not name.startswith("blocks."):
            yield name, value
            continue
        _, number, rest = name.split(".", 2)
        if int(number) not in gone:
            yield f"blocks.{int(number) - sum(each < int(number) for each in gone)}.{rest}", value
