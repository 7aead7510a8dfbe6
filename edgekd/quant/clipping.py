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
        high = clipped(rows, rows.abs().amax(1), self.quant_max)
        for buffer, value in ((self.min_val, -high), (self.max_val, high)):
            buffer.resize_(value.shape)
            buffer.copy_(value)
        return x_orig


def clipped(rows: Tensor, top: Tensor, levels: int) -> Tensor:
    """
    Of the shares of `top` [C], the one that quantises each of rows [C, N] with the least square error, in integers
    from -levels to levels.

    Banner, Nahshan, Soudry, "Post training 4-bit quantization of convolutional networks", 2019, section 2, from the
    values themselves instead of a fitted distribution.
    """
    least, found = torch.full_like(top, torch.inf), top
    for share in SHARES:
        high = top * share
        step = (high / levels).clamp(min=torch.finfo(rows.dtype).tiny)[:, None]
        error = ((rows / step).round().clamp(-levels, levels) * step - rows).square().sum(1)
        found = torch.where(error < least, high, found)
        least = torch.minimum(error, least)
    return found
