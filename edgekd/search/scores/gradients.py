"""Scores of one or two backward passes: how much the loss would notice a net's weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Gradients = Sequence[tuple[Tensor, Tensor]]  # weight and its gradient, of every convolution and linear layer


def gradients(net: nn.Module, x: Tensor, labels: Tensor) -> Gradients:
    """Of cross-entropy on images [N, C, H, W] with labels [N], in training mode."""
    layers = [m for m in net.train().modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    loss = F.cross_entropy(net(x), labels)
    grads = torch.autograd.grad(loss, [layer.weight for layer in layers])
    return [(layer.weight.detach(), grad) for layer, grad in zip(layers, grads, strict=True)]


def snip(found: Gradients) -> float:
    """
    Log of the sum of |weight x gradient|.

    Lee, Ajanthan, Torr, "SNIP: single-shot network pruning based on connection sensitivity" (2019), whose
    sensitivities are summed over the net as Abdelfattah et al. (2021) do. The logarithm is ours: it ranks the same.
    """
    return math.log(sum(float((weight * grad).abs().sum()) for weight, grad in found))


def grad_norm(found: Gradients) -> float:
    """
    The sum over layers of the Euclidean norm of the gradient.

    Abdelfattah, Mehrotra, Dudziak, Lane, "Zero-cost proxies for lightweight NAS" (2021).
    """
    return sum(float(grad.norm()) for _, grad in found)


def zico(batches: Sequence[Gradients]) -> float:
    """
    The sum over layers of log sum over weights of mean |gradient| / deviation of |gradient|, over two batches or more.

    Li, Yang, Zhu, et al., "ZiCo: Zero-shot NAS via inverse coefficient of variation on gradients" (2023).
    Weights whose gradient does not vary are left out, as in their code.
    """
    total = 0.0
    for layer in zip(*batches, strict=True):
        size = torch.stack([grad.abs() for _, grad in layer])
        deviation = size.std(0, correction=0)
        varies = deviation > 0
        share = float((size.mean(0)[varies] / deviation[varies]).sum())
        total += math.log(share) if share > 0 else 0.0
    return total
