"""Ranges for few bits: what is rare is clipped where that costs less than wide steps."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from edgekd.quant.clipping import ClippedChannels, least_square_error


def error(row: Tensor, low: Tensor, high: Tensor, steps: int) -> float:
    step = (high - low) / steps
    return float((((row.clamp(low, high) / step).round() * step) - row).square().sum())


@given(st.integers(0, 10_000), st.sampled_from([3, 6, 15, 255]))
def test_no_range_is_worse_than_the_whole_one(seed: int, steps: int) -> None:
    rows = torch.randn(4, 300, generator=torch.Generator().manual_seed(seed))
    top = rows.abs().amax(1)
    low, high = least_square_error(rows, -top, top, steps)
    for row, a, b, whole in zip(rows, low, high, top, strict=True):
        assert error(row, a, b, steps) <= error(row, -whole, whole, steps) * (1 + 1e-5)
        assert b == -a
        assert 0 < b <= whole


def test_an_outlier_is_clipped_at_three_bits_and_not_at_eight() -> None:
    row = torch.cat([torch.linspace(-1, 1, 500), torch.tensor([3.0])])[None]
    top = torch.tensor([3.0])
    assert float(least_square_error(row, -top, top, 6)[1]) < 1.6
    assert float(least_square_error(row, -top, top, 254)[1]) > 2.9


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
