"""The losses of logits by their names in a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from edgekd.train.losses import divergences, labelled, relations

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
