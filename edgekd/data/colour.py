"""Colours of a batch [B, C, H, W] of pixels from 0 to 1, by a factor [B] an image; 1 leaves it as it is."""

from __future__ import annotations

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow has it


def contrasted(x: Tensor, factor: Tensor) -> Tensor:
    """Towards the mean gray of each image, or away from it."""
    return _between(gray(x).mean((2, 3), keepdim=True), x, factor)


def saturated(x: Tensor, factor: Tensor) -> Tensor:
    """Towards gray, or away from it; nothing where there is one channel."""
    return _between(gray(x), x, factor) if x.shape[1] == 3 else x


def gray(x: Tensor) -> Tensor:
    """[B, 1, H, W]."""
    return (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True) if x.shape[1] == 3 else x


def _between(a: Tensor, b: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(a.expand_as(b), b, factor[:, None, None, None])
