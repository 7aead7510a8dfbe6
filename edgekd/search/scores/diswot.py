"""
DisWOT, [9]: how alike a random student and a random teacher are before any training.

Source: Dong, Li, Wei, "DisWOT: Student Architecture Search for Distillation WithOut Training" (2023), with the
definitions of the authors' README. Both terms are negative distances: higher is better.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.models.residual_cnn import ResidualCnn


@dataclass(frozen=True)
class Look:
    """What DisWOT reads of one net: `features` [N, D] before pooling, `head` [K, C], dCE/dW of the classifier."""

    features: Tensor
    head: Tensor


def look(net: ResidualCnn, x: Tensor, labels: Tensor) -> Look:
    """One forward and backward pass over images [N, C, H, W] with labels [N]."""
    features = net.train().features(x)
    pooled = features.mean((2, 3)).detach()
    weight = net.classifier.weight.detach().requires_grad_()
    loss = F.cross_entropy(F.linear(pooled, weight, net.classifier.bias.detach()), labels)
    (head,) = torch.autograd.grad(loss, weight)
    return Look(features.detach().flatten(1), head)


@torch.no_grad()
def with_usual_head(net: ResidualCnn, seed: int) -> ResidualCnn:
    """
    In place: a classifier as torch draws linear layers, uniform within 1 / sqrt(width), where ours start near zero.

    The semantic term is made of its gradients, and ranks by it: on the authors' 64 nets tau 0.62 and 0.71 with it, 0.48
    with ours (two seeds, natural crops).
    """
    generator, bound = torch.Generator().manual_seed(seed), net.classifier.in_features**-0.5
    for parameter in (net.classifier.weight, net.classifier.bias):
        parameter.copy_((2 * torch.rand(parameter.shape, generator=generator) - 1) * bound)
    return net


def relation(student: Look, teacher: Look) -> float:
    """-(1/N^2) sum (G_T - G_S)^2, G the row-normalised Gram matrix over the batch [N, N]; any two nets compare."""
    grams = [F.normalize(net.features @ net.features.T, dim=1) for net in (student, teacher)]
    return -float((grams[0] - grams[1]).square().mean())


def semantic(student: Look, teacher: Look) -> float | None:
    """
    -(1/(K C)) sum_k ||E_k^T - E_k^S||_F^2, E_k the row-normalised outer product of class k's head gradient.

    A normalised row of a rank-one matrix is the sign of its entry times the unit vector u_k, so with
    s_k the number of equal signs minus the unequal ones this is -mean_k [2 - (2 / C) s_k <u_k^T, u_k^S>]:
    O(K C), no C x C matrix. None where the last widths C differ: it is not defined there.
    """
    a, b = student.head, teacher.head
    if a.shape != b.shape:
        return None
    signs = (a.sign() * b.sign()).sum(1)
    cosine = (F.normalize(a, dim=1) * F.normalize(b, dim=1)).sum(1)
    return -float((2 - 2 / a.shape[1] * signs * cosine).mean())
