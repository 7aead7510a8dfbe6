"""A net without units answers as the net in which they are silent, loads as any other, and says its shape."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgekd.models import checkpoint
from edgekd.models.residual_cnn import ResidualCnnForImageClassification
from edgekd.models.shape import NetShape, resnet
from edgekd.prune.places import narrowed, rungs, streams_of, units_of
from edgekd.prune.structure import pruned, zeroed

RESIDUAL = NetShape(stem_width=8, widths=((16, 8), (8, 8), (16, 12), (12, 12)), strides=(1, 1, 2, 1))
MIXED = NetShape(
    stem_width=16, stem_stride=2, kinds=("plain", "inverted", "inverted", "encoder", "residual", "skip"), head_width=8,
    widths=((16, 16), (24, 24), (48, 24), (40, 24), (16, 24), (24, 24)), strides=(1, 2, 1, 1, 1, 1),
)  # fmt: skip

STREAMS = NetShape(
    stem_width=12, kinds=("residual", "residual", "residual", "plain", "skip", "encoder", "skip"), head_width=4,
    widths=((8, 12), (16, 20), (8, 20), (16, 16), (16, 16), (24, 16), (16, 16)), strides=(1, 2, 1, 1, 1, 1, 1),
    heads=(0, 0, 0, 0, 0, 3, 0), dual_head=0.5,
)  # fmt: skip
SHAPES = {"residual": RESIDUAL, "mixed": MIXED, "streams": STREAMS, "resnet": resnet(14)}


def lively(shape: NetShape) -> ResidualCnnForImageClassification:
    """With statistics and weights of norms that are not 0 and 1."""
    model = checkpoint.build(shape, ["a", "b", "c"], 3, seed=0)
    generator = torch.Generator().manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            tensors: list[Any] = [layer.weight, layer.running_var, layer.bias, layer.running_mean]
            for values in tensors[:2]:
                values.data.uniform_(0.5, 1.5, generator=generator)
            for values in tensors[2:]:
                values.data.normal_(0, 0.3, generator=generator)
    model.eval()
    return model


@settings(max_examples=25, deadline=None)
@given(shape=st.sampled_from(list(SHAPES.values())), seed=st.integers(0, 1000), streams=st.booleans())
def test_removal_equals_silence(shape: NetShape, seed: int, streams: bool) -> None:
    """For any choice of units: whole blocks among them, heads, and what stages hand on."""
    generator = torch.Generator().manual_seed(seed)
    kept: dict[str, Tensor] = {}
    for units in units_of(shape, streams=streams):
        options = rungs(units, 4, shape)
        count = options[int(torch.randint(len(options), (), generator=generator))]
        kept[units.name] = torch.randperm(units.size, generator=generator)[:count].sort().values
    model = lively(shape)
    silent = deepcopy(model)
    zeroed(silent, shape, kept)
    smaller = pruned(model, kept)
    x = torch.randn(4, 3, 16, 16, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(smaller.net(x), silent.net(x), atol=1e-5, rtol=1e-5)
    assert smaller.config.shape == narrowed(shape, {name: len(stay) for name, stay in kept.items()})
    assert NetShape.model_validate(smaller.config.shape.model_dump()) == smaller.config.shape


def test_what_is_left_is_an_ordinary_checkpoint(tmp_path: Path) -> None:
    model = lively(RESIDUAL)
    smaller = pruned(model, {"0": torch.arange(0, 16, 2), "1": torch.tensor([], dtype=torch.long)})
    checkpoint.save(smaller, tmp_path)
    again = checkpoint.load(tmp_path)
    assert again.config.shape.widths == ((8, 8), (16, 12), (12, 12))
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(again.net(x), smaller.net(x))
    assert model.config.shape == RESIDUAL  # which it was made of is as it was


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (0, [16, 8, 0]),
        (1, [8, 0]),
        (2, [16, 8]),  # its stride makes it needed
        (3, [12, 8, 0]),
    ],
)
def test_rungs_are_whole_steps_and_none_where_the_block_may_go(block: int, expected: list[int]) -> None:
    units = next(each for each in units_of(RESIDUAL) if each.name == str(block))
    assert rungs(units, 8, RESIDUAL) == expected


def test_an_expanded_block_does_not_lose_its_first_convolution_by_chance() -> None:
    units = next(each for each in units_of(MIXED) if each.name == "2")
    assert 24 not in rungs(units, 8, MIXED)
    assert rungs(units, 8, MIXED) == [48, 40, 32, 16, 8, 0]


def test_a_stage_hands_on_what_its_stem_and_all_its_blocks_made() -> None:
    first, second, third = units_of(resnet(14), streams=True)[-3:]
    assert (first.name, first.size, second.size, third.size) == ("stream 0", 16, 32, 64)
    assert first.made == ("stem.0", "blocks.0.conv2", "blocks.1.conv2")
    assert first.readers == ("blocks.0.conv1", "blocks.1.conv1", "blocks.2.conv1", "blocks.2.shortcut.0")
    assert second.made == ("blocks.2.conv2", "blocks.2.shortcut.0", "blocks.3.conv2")
    assert third.readers == ("blocks.5.conv1", "classifier")
    assert narrowed(resnet(14), {"stream 0": 8, "1": 0, "stream 2": 40}).widths == (
        (16, 8), (32, 32), (32, 32), (64, 40), (64, 40)
    )  # fmt: skip


def test_what_one_width_more_or_less_would_make_another_block_stays_whole() -> None:
    """A projection without a stride goes once its sides are equal; an inverted block's first convolution likewise."""
    widened = NetShape(stem_width=8, widths=((8, 8), (16, 16), (16, 16)), strides=(1, 1, 2))
    assert [stream.whole for stream in streams_of(widened)] == [True, True, False]
    assert [units.name for units in units_of(MIXED, streams=True) if units.block is None] == ["stream 0"]


def test_heads_are_units_of_their_own_and_named_once_they_differ() -> None:
    heads = next(units for units in units_of(STREAMS) if units.name == "heads 5")
    assert (heads.size, heads.width, rungs(heads, 8, STREAMS)) == (3, 4, [3, 2, 1])
    plain = NetShape(stem_width=16, widths=((16, 16),), strides=(1,), kinds=("encoder",), head_width=8)
    assert narrowed(plain, {"0": 8}).heads == ()
    assert narrowed(plain, {"heads 0": 1}).heads == (1,)
    assert narrowed(plain, {"stream 0": 8}).heads == (2,)
