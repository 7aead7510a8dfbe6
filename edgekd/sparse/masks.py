"""Which weights stay, by their scores: pure functions. Weights are [O, I, ...], masks are true where they stay."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def n_of_m(scores: Tensor, kept: int, group: int) -> Tensor:
    """
    The `kept` highest of each `group` of consecutive input channels, at every output channel and place of the kernel:
    the axis along which sparse tensor cores multiply (Mishra et al., "Accelerating sparse deep neural networks", 2021).
    Exactly so many, ties or not. ValueError where the input channels are no multiple of `group`.
    """
    channels = scores.shape[1]
    if channels % group:
        raise ValueError(f"{channels} input channels are no multiple of {group}")
    last = scores.movedim(1, -1)
    groups = last.reshape(*last.shape[:-1], channels // group, group)
    mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, groups.topk(kept, -1).indices, True)
    return mask.reshape(last.shape).movedim(-1, 1).contiguous()


def lowest_out(scores: Tensor, share: float, block: tuple[int, int] = (1, 1)) -> Tensor:
    """All but the lowest `share`, whole blocks of output and input channels by the mean of their scores."""
    means = _block_means(scores, block)
    return _spread(_all_but(means.flatten(), share).reshape(means.shape), scores.shape, block)


def lowest_of_all_out(scores: Sequence[Tensor], share: float, block: tuple[int, int] = (1, 1)) -> list[Tensor]:
    """The same over several layers at once: some lose more than others. Blocks at an edge count as whole ones."""
    means = [_block_means(each, block) for each in scores]
    stays = _all_but(torch.cat([each.flatten() for each in means]), share)
    parts = stays.split([each.numel() for each in means])
    return [
        _spread(part.reshape(mean.shape), own.shape, block)
        for part, mean, own in zip(parts, means, scores, strict=True)
    ]


def _all_but(scores: Tensor, share: float) -> Tensor:
    mask = torch.ones_like(scores, dtype=torch.bool)
    mask[scores.topk(round(share * scores.numel()), largest=False).indices] = False
    return mask


def _block_means(scores: Tensor, block: tuple[int, int]) -> Tensor:
    """[O, I, ...] -> [ceil(O / rows), ceil(I / columns), ...]; what lies beyond the edge does not count."""
    if block == (1, 1):
        return scores
    places = scores.flatten(2).movedim(2, 0) if scores.ndim > 2 else scores[None]  # [places, O, I]
    over = [-size % side for size, side in zip(scores.shape[:2], block, strict=True)]
    sums, counts = (
        F.avg_pool2d(F.pad(each, (0, over[1], 0, over[0]))[:, None], block)[:, 0]
        for each in (places, torch.ones_like(places))
    )
    means = sums / counts
    return means.movedim(0, 2).reshape(*means.shape[1:], *scores.shape[2:]) if scores.ndim > 2 else means[0]


def _spread(mask: Tensor, shape: torch.Size, block: tuple[int, int]) -> Tensor:
    """Of blocks, to the weights that they hold."""
    for axis, side in enumerate(block):
        mask = mask.repeat_interleave(side, axis).narrow(axis, 0, shape[axis]) if side > 1 else mask
    return mask.contiguous()
