"""How much a layer would miss each of its weights [O, I, ...]; pure functions, the higher the more."""

from __future__ import annotations

import torch
from torch import Tensor

DAMP = 1e-2  # of the mean of the Hessian's diagonal


def by_activation(weight: Tensor, square: Tensor) -> Tensor:
    """
    |W| times the norm of the channel that it reads, from its mean square [I] (Sun, Liu, Bair, Kolter, "A simple and
    effective pruning approach for large language models", 2024, equation 1: Wanda, of linear layers there; here every
    place of a kernel has its channel's norm).
    """
    return weight.abs() * _by_channel(square.clamp(min=0).sqrt(), weight)


def by_obs(weight: Tensor, pairs: Tensor) -> Tensor:
    """
    W^2 / [H^-1]: by how much the square error of the layer's output rises when one weight goes and the others make up
    for it (Hassibi and Stork, "Second order derivatives for network pruning: optimal brain surgeon", 1993, equation 5),
    with H = `pairs` [D, D], the second moments of what an output reads. Of each weight alone: those that go together
    are not followed up, and training, instead of the closed form, makes up for them.
    """
    square = pairs.double()
    square = square + torch.eye(len(square), dtype=torch.float64) * DAMP * square.diagonal().mean().clamp(min=1e-12)
    diagonal: Tensor = torch.linalg.inv(square).diagonal()
    scores: Tensor = weight.flatten(1).double().square() / diagonal
    return scores.reshape(weight.shape).to(weight.dtype)


def swapped(weight: Tensor, mask: Tensor, mean: Tensor, square: Tensor, cycles: int = 50) -> Tensor:
    """
    The mask with weights of each output exchanged, one for one, as long as the expected change of that output becomes
    smaller; `mean` and `square` [I] are of the channels read. Weights do not change, nor how many stay.

    Zhang et al., "Dynamic sparse no training: training-free fine-tuning for sparse LLMs" (2024), equations 3 to 5: what
    comes back has the largest share in the change over its input's variance, what goes is the least by |W| x norm among
    those that pull the other way. Theirs stops below a threshold; here an exchange that does not help is not made.
    """
    values, stays = weight.flatten(1).double(), mask.flatten(1).clone()
    spread = _by_channel((square - mean.square()).clamp(min=1e-12), weight).expand_as(weight).flatten(1)
    share = values * _by_channel(mean, weight).expand_as(weight).flatten(1).double()
    costs = by_activation(weight, square).flatten(1).double()
    for _ in range(cycles):
        change = (share * ~stays).sum(1)
        pulls = change.sign()[:, None] * share
        gain, grows = (pulls / spread).masked_fill(stays, -torch.inf).max(1)
        cost, goes = costs.masked_fill(~stays | (pulls >= 0), torch.inf).min(1)
        rows = torch.arange(len(values))
        after = change - share[rows, grows] + share[rows, goes]
        rows = rows[(after.abs() < change.abs()) & gain.isfinite() & cost.isfinite()]
        if not len(rows):
            break
        stays[rows, grows[rows]] = True
        stays[rows, goes[rows]] = False
    return stays.reshape(mask.shape)


def _by_channel(values: Tensor, weight: Tensor) -> Tensor:
    """[I] -> [1, I, 1, ...]."""
    return values.reshape(1, -1, *[1] * (weight.ndim - 2)).to(weight.dtype)
