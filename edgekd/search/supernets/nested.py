"""
Sub-networks that are prefixes of a supernet: of each stage the first blocks, of each layer the first channels.

Valipour et al., "SortedNet: A scalable and generalized framework for training modular deep neural networks" (2023),
where sub-networks are sorted likewise along each dimension. What a net is made of is read from its weights' names and
shapes: a sub-network's weights are the leading entries of the supernet's, and one file holds all of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from edgekd.errors import ConfigError
from edgekd.models import checkpoint
from edgekd.models.residual_cnn import ResidualCnn, ResidualCnnConfig, ResidualCnnForImageClassification
from edgekd.models.shape import BlockShape, NetShape, parameters
from edgekd.search.supernets.stages import Nested

MOST = 50_000  # combinations of depths and widths, before a space counts as too large to look through
SIZED = {"stem_width", "widths", "strides", "kinds", "kernels", "heads"}  # what a prefix may have less of
Part = tuple[int, float]  # of a stage: its first blocks, and which share of the channels


def stages(shape: NetShape) -> list[list[int]]:
    """The numbers of the blocks; a stage ends where the next block has a stride."""
    found: list[list[int]] = [[]]
    for number, stride in enumerate(shape.strides):
        if number and stride > 1:
            found.append([])
        found[-1].append(number)
    return found


def sub_shapes(whole: NetShape, nested: Nested) -> tuple[NetShape, ...]:
    """All sub-networks of the supernet, the smallest first, itself last. Raises ConfigError."""
    each = [
        sorted(set(itertools.product((min(depth, len(stage)) for depth in nested.depths), nested.width_shares)))
        for stage in stages(whole)
    ]
    combinations = math.prod(map(len, each))
    if combinations > MOST:
        raise ConfigError(
            f"nested: {combinations} combinations of depths and widths are more than {MOST}; name fewer of them"
        )
    step = math.lcm(nested.width_step, whole.head_width) if "encoder" in whole.kinds else nested.width_step
    made = {_cut(whole, parts, step): None for parts in itertools.product(*each)}
    found = sorted((shape for shape in made if why_no_prefix(shape, whole) is None and shape != whole), key=_size)
    if not found:
        raise ConfigError(
            f"nested: depths {nested.depths} and shares {nested.width_shares} in steps of {nested.width_step} leave "
            "no sub-network beside the supernet itself; name smaller ones"
        )
    return (*found, whole)


def _size(shape: NetShape) -> tuple[int, str]:
    return parameters(shape), shape.model_dump_json()


def _cut(whole: NetShape, parts: Sequence[Part], step: int) -> NetShape:
    """The stem has the first stage's share: where no projection is between them, they share their channels."""
    kept = [
        (number, share)
        for (depth, share), stage in zip(parts, stages(whole), strict=True)
        for number in stage[:depth]
    ]  # fmt: skip
    fields = whole.model_dump() | {
        "stem_width": _width(whole.stem_width, parts[0][1], step),
        "widths": tuple(
            (_width(whole.widths[number][0], share, step), _width(whole.widths[number][1], share, step))
            for number, share in kept
        ),
        **{name: _of(getattr(whole, name), kept) for name in ("strides", "kinds", "kernels", "heads")},
    }
    return NetShape(**fields)


def _of(values: Sequence[Any], kept: Sequence[tuple[int, float]]) -> tuple[Any, ...]:
    """Of the blocks that are kept; nothing where nothing is said of them."""
    return tuple(values[number] for number, _ in kept) if values else ()


def _width(full: int, share: float, step: int) -> int:
    return full if share == 1 else min(full, max(step, round(full * share / step) * step))


def why_no_prefix(shape: NetShape, whole: NetShape) -> str | None:
    """What keeps the first net's weights from being the leading ones of the second's; None where they are."""
    for name in sorted(NetShape.model_fields.keys() - SIZED):
        if getattr(shape, name) != getattr(whole, name):
            return f"{name} {getattr(shape, name)}, not {getattr(whole, name)}"
    own, theirs = stages(shape), stages(whole)
    if len(own) != len(theirs):
        return f"{len(own)} stages, not {len(theirs)}"
    for number, (mine, all_of_it) in enumerate(zip(own, theirs, strict=True), 1):
        if len(mine) > len(all_of_it):
            return f"stage {number} has {len(mine)} blocks, more than {len(all_of_it)}"
    if shape.stem_width > whole.stem_width:
        return f"a stem of {shape.stem_width} channels, more than {whole.stem_width}"
    for number, (block, of) in enumerate(zip(shape.blocks, blocks_of(shape, whole), strict=True), 1):
        if why := _why_no_part(block, whole.blocks[of]):
            return f"block {number} has {why}"
    return None


def _why_no_part(block: BlockShape, full: BlockShape) -> str | None:
    for name in ("kind", "kernel", "stride"):
        if getattr(block, name) != getattr(full, name):
            return f"a {name} of {getattr(block, name)}, not {getattr(full, name)}"
    if block.heads > full.heads:
        return f"{block.heads} heads, more than {full.heads}"
    if block.inner > full.inner or block.out > full.out:
        return f"{block.inner} and {block.out} channels, more than {full.inner} and {full.out}"
    if block.projects and not full.projects:
        return "a projection, where the supernet's has none"
    if full.projects and not block.projects:
        return "no projection, where the supernet's has one"
    if block.kind == "inverted" and (block.inner == block.width_in) != (full.inner == full.width_in):
        return "another first convolution than the supernet's"
    return None


def blocks_of(shape: NetShape, whole: NetShape) -> list[int]:
    """For each block of a prefix the number of the supernet's."""
    pairs = zip(stages(shape), stages(whole), strict=True)
    return [number for own, all_of_it in pairs for number in all_of_it[: len(own)]]


def answer(supernet: ResidualCnnForImageClassification, shape: NetShape, x: Tensor) -> Tensor:
    """
    Logits [B, K] that the sub-network has for x [B, C, H, W]; their gradients are the supernet's.

    In training batch norms read their batch, and the supernet's statistics stay: each width has others. Raises
    ConfigError.
    """
    frame = _frame(shape, supernet.config.in_channels, supernet.config.num_labels)
    logits: Tensor = functional_call(frame.train(supernet.net.training), dict(sliced(supernet, shape)), (x,))
    return logits


def extract(supernet: ResidualCnnForImageClassification, shape: NetShape) -> ResidualCnnForImageClassification:
    """The sub-network as a model of its own, in evaluation mode. Raises ConfigError."""
    labels = [supernet.config.id2label[number] for number in range(supernet.config.num_labels)]
    weights = dict(sliced(supernet, shape))
    model = checkpoint.build(shape, labels, supernet.config.in_channels, seed=0)
    model.net.load_state_dict(weights)
    model.eval()
    return model


def sliced(supernet: ResidualCnnForImageClassification, shape: NetShape) -> Iterator[tuple[str, Tensor]]:
    """The sub-network's weights as views of the supernet's, its statistics as copies."""
    whole = supernet.config.shape
    if why := why_no_prefix(shape, whole):
        raise ConfigError(f"sub-network: is no prefix of the supernet: {why}; take one that search.subnets lists")
    weights = dict(supernet.net.named_parameters())
    statistics = dict(supernet.net.named_buffers())
    frame, blocks = _frame(shape, supernet.config.in_channels, supernet.config.num_labels), blocks_of(shape, whole)
    for name, like in frame.state_dict().items():
        theirs = name_in(blocks, name)
        value = weights[theirs] if theirs in weights else statistics[theirs].clone()
        for axis, size in enumerate(like.shape):
            value = value if value.shape[axis] == size else value.narrow(axis, 0, size)
        yield name, value


def name_in(blocks: Sequence[int], name: str) -> str:
    """What a tensor of a sub-network that is made of these blocks is called in the supernet."""
    if not name.startswith("blocks."):
        return name
    _, number, rest = name.split(".", 2)
    return f"blocks.{blocks[int(number)]}.{rest}"


@lru_cache(maxsize=1024)
def _frame(shape: NetShape, in_channels: int, classes: int) -> ResidualCnn:
    """The net without weights: what is called with others."""
    config = ResidualCnnConfig(in_channels=in_channels, num_labels=classes, **shape.model_dump(mode="json"))
    with torch.device("meta"):
        return ResidualCnn(config)
