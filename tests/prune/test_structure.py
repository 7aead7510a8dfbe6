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
from edgekd.models.shape import NetShape
from edgekd.prune.structure import narrowed, pruned, rungs, units_of, zeroed

RESIDUAL = NetShape(stem_width=8, widths=((16, 8), (8, 8), (16, 12), (12, 12)), strides=(1, 1, 2, 1))
MIXED = NetShape(
    stem_width=16, stem_stride=2, kinds=("plain", "inverted", "inverted", "encoder", "residual", "skip"), head_width=8,
    widths=((16, 16), (24, 24), (48, 24), (40, 24), (16, 24), (24, 24)), strides=(1, 2, 1, 1, 1, 1),
)  # fmt: skip


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


@settings(max_examples=15, deadline=None)
@given(shape=st.sampled_from([RESIDUAL, MIXED]), seed=st.integers(0, 1000))
def test_removal_equals_silence(shape: NetShape, seed: int) -> None:
    """For any choice of units, whole blocks among them."""
    generator = torch.Generator().manual_seed(seed)
    kept: dict[int, Tensor] = {}
    for units in units_of(shape):
        options = rungs(units, 4, shape)
        count = options[int(torch.randint(len(options), (), generator=generator))]
        kept[units.block] = torch.randperm(units.size, generator=generator)[:count].sort().values
    model = lively(shape)
    silent = deepcopy(model)
    zeroed(silent, shape, kept)
    smaller = pruned(model, kept)
    x = torch.randn(4, 3, 16, 16, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(smaller.net(x), silent.net(x), atol=1e-5, rtol=1e-5)
    assert smaller.config.shape == narrowed(shape, {number: len(stay) for number, stay in kept.items()})


def test_what_is_left_is_an_ordinary_checkpoint(tmp_path: Path) -> None:
    model = lively(RESIDUAL)
    smaller = pruned(model, {0: torch.arange(0, 16, 2), 1: torch.tensor([], dtype=torch.long)})
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
    units = next(each for each in units_of(RESIDUAL) if each.block == block)
    assert rungs(units, 8, RESIDUAL) == expected


def test_an_expanded_block_does_not_lose_its_first_convolution_by_chance() -> None:
    units = next(each for each in units_of(MIXED) if each.block == 2)
    assert 24 not in rungs(units, 8, MIXED)
    assert rungs(units, 8, MIXED) == [48, 40, 32, 16, 8, 0]
