"""Weights of few bits: ranges that clip what is rare, where steps as wide as the largest value cost too much."""

from __future__ import annotations

import torch
from torch import Tensor
from torchao.quantization.pt2e import PerChannelMinMaxObserver

SHARES = tuple(i / 20 for i in range(20, 5, -1))  # of the whole range, that are tried; the whole one first


class ClippedChannels(PerChannelMinMaxObserver):  # type: ignore[misc]
    """Each channel's symmetric range of least square error, of the weights as they are now."""

    def forward(self, x_orig: Tensor) -> Tensor:
        rows = x_orig.detach().transpose(0, self.ch_axis).flatten(1)
        top = rows.abs().amax(1)
        _, high = least_square_error(rows, -top, top, self.quant_max - self.quant_min)
        for buffer, value in ((self.min_val, -high), (self.max_val, high)):
            buffer.resize_(value.shape)
            buffer.copy_(value)
        return x_orig


def least_square_error(rows: Tensor, low: Tensor, high: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """
    Of the shares of [low, high], each [C], the one that quantises each of rows [C, N] best, in `steps` steps.

    Banner, Nahshan, Soudry, "Post training 4-bit quantization of convolutional networks", 2019, section 2, from the
    values themselves instead of a fitted distribution.
    """
    best = torch.full_like(high, torch.inf)
    found_low, found_high = low, high
    for share in SHARES:
        a, b = low * share, high * share
        step = ((b - a) / steps).clamp(min=torch.finfo(rows.dtype).tiny)[:, None]
        kept = rows.clamp(a[:, None], b[:, None])
        error = ((kept / step).round() * step - rows).square().sum(1)
        better = error < best
        best = torch.where(better, error, best)
        found_low, found_high = torch.where(better, a, found_low), torch.where(better, b, found_high)
    return found_low, found_high
