"""Divergences of softened class probabilities. Shapes: logits [B, C]; every loss is a mean over the batch, in nats."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """
    KL(teacher || student) of the softened class probabilities, for logits [B, C].

    Times temperature**2, which keeps the gradient's size as the temperature varies.
    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (2015), section 2.
    """
    log_p = F.log_softmax(teacher / temperature, dim=1)
    log_q = F.log_softmax(student / temperature, dim=1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * temperature**2


def standardised(logits: Tensor) -> Tensor:
    """
    Each sample's logits with mean 0 and deviation 1: the student need not take over the teacher's range.

    Source: Sun et al., "Logit Standardization in Knowledge Distillation" (2024), algorithm 1; the deviation is that
    of the whole sample of C logits.
    """
    centred = logits - logits.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True).sqrt() + 1e-7)


def skew_kl(student: Tensor, teacher: Tensor, alpha: float, *, reverse: bool = False) -> Tensor:
    """
    KL(p || alpha p + (1 - alpha) q), finite where the student q is near zero; reversed, KL(q || alpha q +
    (1 - alpha) p).

    Source: Ko et al., "DistiLLM: Towards Streamlined Distillation for Large Language Models" (2024), section
    3.1; their adaptive sampling is of text and not here.
    """
    log_p, log_q = F.log_softmax(teacher, dim=1), F.log_softmax(student, dim=1)
    first, second = (log_q, log_p) if reverse else (log_p, log_q)
    mixed = torch.logsumexp(torch.stack([first + _log(alpha), second + _log(1 - alpha)]), dim=0)
    return (first.exp() * (first - mixed)).sum(1).mean()


def bd_kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """
    Forward and reverse KL, each sample's weighted by which of the two nets is less sure of it: where the student's
    entropy is the higher the forward one counts more, by the entropies' shares. Times temperature**2.

    Source: Amara et al., "BD-KD: Balancing the Divergences for Online Knowledge Distillation" (2022); the weights are
    ours in form (they switch between two constants), and the teacher here stands still.
    """
    log_p, log_q = (F.log_softmax(x / temperature, dim=1) for x in (teacher, student))
    forward = (log_p.exp() * (log_p - log_q)).sum(1)
    backward = (log_q.exp() * (log_q - log_p)).sum(1)
    unsure_p, unsure_q = (-(x.exp() * x).sum(1).detach() for x in (log_p, log_q))
    share = unsure_q / (unsure_p + unsure_q).clamp(min=1e-12)
    return (share * forward + (1 - share) * backward).mean() * temperature**2


def top_k(student: Tensor, teacher: Tensor, k: int, temperature: float) -> Tensor:
    """
    KL to the teacher's k most probable classes, softened and made to sum to one; the others are no target.

    Source: Shum et al., "FIRST: Teach A Reliable Large Language Model Through Efficient Trustworthy Distillation"
    (2024), with temperature for their re-calibration.
    """
    values, classes = teacher.topk(min(k, teacher.shape[1]), dim=1)
    log_p = F.log_softmax(values / temperature, dim=1)
    log_q = F.log_softmax(student / temperature, dim=1).gather(1, classes)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean() * temperature**2


def taid(student: Tensor, teacher: Tensor, share: float) -> Tensor:
    """
    KL to the softmax of (1 - share) x the student's own logits + share x the teacher's: a target that moves away from
    the student as `share` goes to 1, where it is KD.

    Source: Shing et al., "TAID: Temporally Adaptive Interpolated Distillation" (2025).
    """
    target = (1 - share) * student.detach() + share * teacher
    return kd(student, target, 1.0)


def _log(share: float) -> Tensor:
    return torch.tensor(share).log()
