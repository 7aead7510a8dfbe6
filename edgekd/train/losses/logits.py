"""Losses on logits. Shapes: B batch, C classes. Every loss is a mean over the batch, in nats."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.train.losses.settings import CrossEntropyLoss, KdLoss


def kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """
    KL(teacher || student) of the softened class probabilities, for logits [B, C].

    Times temperature**2, which keeps the gradient's size as the temperature varies.
    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (2015), section 2.
    """
    log_p = F.log_softmax(teacher / temperature, dim=1)
    log_q = F.log_softmax(student / temperature, dim=1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * temperature**2


def weighted(
    losses: Sequence[KdLoss | CrossEntropyLoss], student: Tensor, teacher: Tensor | None, labels: Tensor
) -> Tensor:
    """The weighted sum of the configured losses, logits [B, C] and labels [B]."""
    total = torch.zeros(())
    for loss in losses:
        if isinstance(loss, KdLoss):
            if teacher is None:
                raise ValueError("kd: needs a teacher's logits")
            total = total + loss.weight * kd(student, teacher, loss.temperature)
        else:
            total = total + loss.weight * F.cross_entropy(student, labels, label_smoothing=loss.label_smoothing)
    return total
