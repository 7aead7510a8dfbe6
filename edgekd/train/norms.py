"""Batch norms of a net, and a pull of their scales to zero."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def batch_norms(net: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]:
    return [module for module in net.modules() if isinstance(module, KINDS)]


def scales_of(net: nn.Module) -> list[nn.Parameter]:
    """Of each batch norm the factors of its channels, [C]."""
    return [norm.weight for norm in batch_norms(net) if norm.affine]


@torch.no_grad()
def pull(scales: Iterable[Tensor], strength: float, done: float) -> None:
    """
    Add to the gradients, after a share `done` of the steps, those of `strength` times the sum of the scales' sizes.

    Liu et al., "Learning efficient convolutional networks through network slimming" (2017), equation 1. The strength
    falls towards the end, as in Chu et al., "Group channel pruning and spatial attention distilling for object
    detection" (2022), [144], so that what stays is not held down: here whole up to the half, then along a line to 0.
    """
    now = strength * min(1.0, 2 * (1 - done))
    for scale in scales:
        if scale.grad is not None:
            scale.grad.add_(scale.sign(), alpha=now)
