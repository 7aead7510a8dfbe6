"""What of a net can go as a whole, and the net without it: an ordinary checkpoint, whose config names its widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from edgekd.models import checkpoint
from edgekd.models.residual_cnn import ResidualCnnForImageClassification
from edgekd.models.shape import BlockShape, NetShape


class Parts(NamedTuple):
    """
    Of a kind of block, by name: what makes its units, the batch norm that has one channel a unit, the convolution that
    reads them, the batch norm behind that. `made` and `norms` are cut along outputs, `reader` along inputs.
    """

    made: tuple[str, ...]
    norms: tuple[str, ...]
    reader: str
    last: str


PARTS: Mapping[str, Parts] = {
    "residual": Parts(("conv1",), ("bn1",), "conv2", "bn2"),
    "inverted": Parts(("expand.0", "depthwise.0"), ("expand.1", "depthwise.1"), "project.0", "project.1"),
    "encoder": Parts(("mlp.0",), ("mlp.1",), "mlp.3", "mlp.4"),
}


class Units(NamedTuple):
    """Of block number `block`: channels that nothing else of the net reads, and whether it may go as a whole."""

    block: int
    kind: str
    size: int
    may_vanish: bool


def units_of(shape: NetShape) -> list[Units]:
    found, positive = [], True  # what a block reads: the stem ends in a ReLU
    for number, block in enumerate(shape.blocks):
        if block.kind in PARTS and not (block.kind == "inverted" and block.inner == block.width_in):
            found.append(Units(number, block.kind, block.inner, _may_vanish(block, positive=positive)))
        positive = block.kind in ("residual", "plain") or (block.kind == "skip" and positive)
    return found


def _may_vanish(block: BlockShape, *, positive: bool) -> bool:
    """Without its branch it hands on what it reads; a residual one ends in a ReLU, which must change nothing then."""
    if block.kind == "residual":
        return not block.projects and positive
    return block.kind == "inverted" and block.adds


def rungs(units: Units, step: int, shape: NetShape) -> list[int]:
    """How many units may stay: all, fewer by whole steps, and none where the block may go."""
    before = shape.blocks[units.block].width_in
    fewer = list(range(step * ((units.size - 1) // step), 0, -step))
    if units.kind == "inverted":
        fewer = [kept for kept in fewer if kept != before]  # so wide a block has no first convolution
    return [units.size, *fewer, *([0] if units.may_vanish else [])]


def narrowed(shape: NetShape, kept: Mapping[int, int]) -> NetShape:
    """The shape with so many units in these blocks; those with none are gone."""
    rows = [
        (number, (kept.get(number, inner), out))
        for number, (inner, out) in enumerate(shape.widths)
        if kept.get(number, inner)
    ]
    numbers = [number for number, _ in rows]

    def of(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[number] for number in numbers) if values else ()

    return shape.model_copy(
        update={
            "widths": tuple(pair for _, pair in rows), "strides": of(shape.strides), "kinds": of(shape.kinds),
            "kernels": of(shape.kernels),
        }
    )  # fmt: skip


def pruned(model: ResidualCnnForImageClassification, kept: Mapping[int, Tensor]) -> ResidualCnnForImageClassification:
    """
    A net of its own with the units `kept` [k] of each block, by their numbers in order; blocks without any are gone.
    It answers as `zeroed` does.
    """
    shape = model.config.shape
    labels = [model.config.id2label[number] for number in range(model.config.num_labels)]
    smaller = checkpoint.build(
        narrowed(shape, {number: len(stay) for number, stay in kept.items()}), labels, model.config.in_channels, seed=0
    )
    own, state = model.state_dict(), dict[str, Tensor]()
    place = 0
    for number, block in enumerate(shape.blocks):
        stay = kept.get(number)
        if stay is not None and not len(stay):
            continue
        start = f"net.blocks.{number}."
        for name, value in own.items():
            if name.startswith(start):
                part = name.removeprefix(start)
                state[f"net.blocks.{place}.{part}"] = value if stay is None else _cut(block.kind, part, value, stay)
        place += 1
    state |= {name: value for name, value in own.items() if not name.startswith("net.blocks.")}
    smaller.load_state_dict(state)
    smaller.train(model.training)
    return smaller


@torch.no_grad()
def zeroed(model: nn.Module, shape: NetShape, kept: Mapping[int, Tensor]) -> None:
    """In place: the same units are there and say nothing; for tests, and for what a removal would do."""
    for number, stay in kept.items():
        block: Any = model.get_submodule(f"net.blocks.{number}")
        parts = PARTS[shape.blocks[number].kind]
        gone = torch.ones(shape.blocks[number].inner, dtype=torch.bool)
        gone[stay] = False
        silent = [(block.get_submodule(name), gone) for name in parts.norms if _has(block, name)]
        if not len(stay):
            last = block.get_submodule(parts.last)
            silent.append((last, torch.ones(last.num_features, dtype=torch.bool)))
        for norm, channels in silent:
            norm.weight[channels] = 0
            norm.bias[channels] = 0


def _has(block: nn.Module, name: str) -> bool:
    return any(known == name for known, _ in block.named_modules())


def _cut(kind: str, name: str, value: Tensor, stay: Tensor) -> Tensor:
    parts, (layer, _, what) = PARTS[kind], name.rpartition(".")
    if what == "num_batches_tracked":
        return value
    if layer in (*parts.made, *parts.norms):
        return value[stay]
    return value[:, stay] if layer == parts.reader and what == "weight" else value
