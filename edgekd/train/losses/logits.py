"""The configured losses on logits, added up. Shapes: B batch, C classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.train.losses import divergences, labelled, relations
from edgekd.train.losses.settings import LossSettings

Loss = Callable[[Any, Tensor, Tensor, Tensor], Tensor]  # of its settings, student's and teacher's logits, labels


def _kd(loss: Any, student: Tensor, teacher: Tensor, _labels: Tensor) -> Tensor:
    if loss.standardise:
        student, teacher = divergences.standardised(student), divergences.standardised(teacher)
    return divergences.kd(student, teacher, loss.temperature)


LOSSES: Mapping[str, Loss] = {
    "kd": _kd,
    "hard-label": lambda _o, s, t, _y: labelled.hard_label(s, t),
    "dkd": lambda o, s, t, y: labelled.dkd(s, t, y, o.alpha, o.beta, o.temperature),
    "nkd": lambda o, s, t, y: labelled.nkd(s, t, y, o.gamma, o.temperature),
    "ofa": lambda o, s, t, y: labelled.ofa(s, t, y, o.exponent),
    "pld": lambda _o, s, t, y: labelled.pld(s, t, y),
    "margin-mse": lambda _o, s, t, y: labelled.margin_mse(s, t, y),
    "dist": lambda o, s, t, _y: relations.dist(s, t, o.beta, o.gamma, o.temperature),
    "skew-kl": lambda o, s, t, _y: divergences.skew_kl(s, t, o.alpha, reverse=o.reverse),
    "bd-kd": lambda o, s, t, _y: divergences.bd_kd(s, t, o.temperature),
    "top-k": lambda o, s, t, _y: divergences.top_k(s, t, o.k, o.temperature),
}


def weighted(losses: Sequence[LossSettings], student: Tensor, teacher: Tensor | None, labels: Tensor) -> Tensor:
    """The weighted sum of the configured losses, logits [B, C]; labels [B], or shares [B, C] of mixed images."""
    total = torch.zeros(())
    for loss in losses:
        if loss.name == "cross-entropy":
            value = F.cross_entropy(student, labels, label_smoothing=loss.label_smoothing)
        elif teacher is None:
            raise ValueError(f"{loss.name}: needs a teacher's logits")
        else:
            value = LOSSES[loss.name](loss, student, teacher, labels)
        total = total + loss.weight * value
    return total
