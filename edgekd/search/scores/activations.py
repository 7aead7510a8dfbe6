"""Scores of forward passes alone: how a random net tells inputs apart."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from edgekd.models.features import linear_cka
from edgekd.models.residual_cnn import ResidualCnn

ALPHA = 0.01  # how far Zen-score moves its input
BatchNorm = nn.BatchNorm2d


@torch.no_grad()
def nwot(net: nn.Module, x: Tensor) -> float:
    """
    Log determinant of how alike the codes of two images are: in how many of all ReLUs both are on, or both off [N, N].

    Mellor, Turner, Storkey, Crowley, "Neural architecture search without training" (2021). The codes are
    read where batch norms end, which is before the ReLUs but for the sum with a shortcut. A float64 determinant of
    two images with one code is -inf, as there.
    """
    size = len(x)
    kernel = torch.zeros(size, size, dtype=torch.float64)

    def add(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        on = (output.flatten(1) > 0).float()
        kernel.add_((on @ on.T + (1 - on) @ (1 - on).T).double())

    hooks = [module.register_forward_hook(add) for module in net.modules() if isinstance(module, BatchNorm)]
    try:
        net.train()(x)
    finally:
        for hook in hooks:
            hook.remove()
    return float(torch.linalg.slogdet(kernel)[1])


@torch.no_grad()
def zen(net: ResidualCnn, x: Tensor, generator: torch.Generator) -> float:
    """
    Log of how far the last feature map moves when noise inputs like x do, plus the log of what batch norms divide by.

    Lin et al., "Zen-NAS: A zero-shot NAS for high-performance deep image recognition" (2021): weights,
    inputs and moves are standard normal, and norms are those of the batch.
    """
    net = copy.deepcopy(net).train()
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator))
    scales: list[float] = []

    def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        scales.append(0.5 * math.log(float(inputs[0].var((0, 2, 3), correction=0).mean()) + 1e-12))

    noise, move = (torch.randn(x.shape, generator=generator) for _ in range(2))
    hooks = [module.register_forward_pre_hook(keep) for module in net.modules() if isinstance(module, BatchNorm)]
    here = net.features(noise)
    for hook in hooks:
        hook.remove()
    moved = net.features(noise + ALPHA * move)
    apart = float((here - moved).flatten(1).norm(dim=1).mean())
    return math.log(apart + 1e-12) + sum(scales)


@torch.no_grad()
def alike(net: ResidualCnn, x: Tensor, teacher: Tensor) -> float:
    """Linear CKA of the last feature map with the trained teacher's [N, ...] of the same images, from 0 to 1."""
    return linear_cka(net.train().features(x), teacher)
