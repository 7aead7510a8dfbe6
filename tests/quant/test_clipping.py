"""Ranges for few bits: what is rare is clipped where that costs less than wide steps."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from edgekd.quant.clipping import ClippedChannels, clipped


def error(row: Tensor, high: Tensor, levels: int) -> float:
    step = high / levels
    return float((((row / step).round().clamp(-levels, levels) * step) - row).square().sum())


@given(st.integers(0, 10_000), st.sampled_from([1, 3, 7, 127]))
def test_no_range_is_worse_than_the_whole_one(seed: int, levels: int) -> None:
    rows = torch.randn(4, 300, generator=torch.Generator().manual_seed(seed))
    top = rows.abs().amax(1)
    for row, high, whole in zip(rows, clipped(rows, top, levels), top, strict=True):
        assert error(row, high, levels) <= error(row, whole, levels) * (1 + 1e-5)
        assert 0 < high <= whole


def test_an_outlier_is_clipped_at_three_bits_and_not_at_eight() -> None:
    row = torch.cat([torch.linspace(-1, 1, 500), torch.tensor([3.0])])[None]
    top = torch.tensor([3.0])
    assert float(clipped(row, top, 3)) < 1.6
    assert float(clipped(row, top, 127)) > 2.9


def test_each_channel_has_its_own_range_of_the_weights_as_they_are_now() -> None:
    observer = ClippedChannels(
        dtype=torch.int8, quant_min=-3, quant_max=3, qscheme=torch.per_channel_symmetric, ch_axis=0, eps=2**-12
    )
    weights = torch.randn(5, 4, 3, 3) * torch.tensor([1.0, 2, 4, 8, 16]).view(5, 1, 1, 1)
    observer(weights)
    observer(weights / 2)  # no average, no extremes: what was before is forgotten
    scale, zero_point = observer.calculate_qparams()
    fresh = ClippedChannels(
        dtype=torch.int8, quant_min=-3, quant_max=3, qscheme=torch.per_channel_symmetric, ch_axis=0, eps=2**-12
    )
    fresh(weights / 2)
    assert torch.equal(scale, fresh.calculate_qparams()[0])
    assert zero_point.tolist() == [0] * 5
    assert (scale[1:] > 1.2 * scale[:-1]).all()
