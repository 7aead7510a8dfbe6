"""Losses that know the true class. Shapes: logits [B, C], labels [B]; every loss is a mean over the batch, in nats."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def hard_label(student: Tensor, teacher: Tensor) -> Tensor:
    """
    Cross-entropy with the class that the teacher answers.

    Source: Touvron et al., "Training data-efficient image transformers & distillation through attention" (2021),
    equation 3, without their half for the labels: that is a loss of its own.
    """
    return F.cross_entropy(student, teacher.argmax(1))


def dkd(student: Tensor, teacher: Tensor, labels: Tensor, alpha: float, beta: float, temperature: float) -> Tensor:
    """
    Alpha KL of (true class, all others) + beta KL among the others, times temperature**2.

    With alpha = 1 and beta = 1 - p_t(true class) for each sample it is KD.
    Source: Zhao et al., "Decoupled Knowledge Distillation" (2022), equations 5 to 7.
    """
    p, q = (F.log_softmax(x / temperature, dim=1) for x in (teacher, student))
    true = F.one_hot(labels, student.shape[1]).bool()
    target = (_binary(p, true).exp() * (_binary(p, true) - _binary(q, true))).sum(1)
    rest_p, rest_q = (_among_others(x / temperature, true) for x in (teacher, student))
    others = (rest_p.exp() * (rest_p - rest_q)).masked_fill(true, 0).sum(1)
    return (alpha * target + beta * others).mean() * temperature**2


def nkd(student: Tensor, teacher: Tensor, labels: Tensor, gamma: float, temperature: float) -> Tensor:
    """
    -p_t(y) log p_s(y) - gamma T^2 sum over the other classes of softmax(z_t / T) log softmax(z_s / T).

    Not zero for the teacher itself: a cross-entropy, no divergence.
    Source: Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation" (2023).
    """
    true = F.one_hot(labels, student.shape[1]).bool()
    p, q = F.softmax(teacher, dim=1), F.log_softmax(student, dim=1)
    target = -(p[true] * q[true])
    rest_p, rest_q = (_among_others(x / temperature, true) for x in (teacher, student))
    others = -(rest_p.exp() * rest_q.masked_fill(true, 0)).sum(1)
    return (target + gamma * temperature**2 * others).mean()


def ofa(student: Tensor, teacher: Tensor, labels: Tensor, exponent: float) -> Tensor:
    """
    -sum over classes of ((p_t + [c = y])^exponent - [c = y]) log p_s: soft cross-entropy at exponent 1, more weight on
    the true class where the teacher is sure of it above.

    Source: Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge Distillation"
    (2023), on the logits alone; heads at its stages are `OfaStages`.
    """
    true = F.one_hot(labels, student.shape[1]).to(student.dtype)
    weight = (F.softmax(teacher, dim=1) + true) ** exponent - true
    return -(weight * F.log_softmax(student, dim=1)).sum(1).mean()


def pld(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """
    A Plackett-Luce ranking: the true class first, the others as the teacher ranks them, each place weighted by the
    teacher's probability of the class that stands there. Cross-entropy for a teacher that is sure.

    Source: Bassam, Zhu, Bian, "PLD: A Choice-Theoretic List-Wise Knowledge Distillation" (2025).
    """
    first = F.one_hot(labels, teacher.shape[1]).bool()
    order = teacher.masked_fill(first, torch.inf).argsort(1, descending=True)
    ranked = student.gather(1, order)
    weight = F.softmax(teacher, dim=1).gather(1, order)
    behind = torch.logcumsumexp(ranked.flip(1), dim=1).flip(1)  # of each place and all after it
    return (weight * (behind - ranked)).sum(1).mean()


def margin_mse(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """
    Square error of how far the true class is above each other one: no matter where either net's zero is.

    Source: Hofstätter et al., "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge
    Distillation" (2020), whose positive and negative documents are classes here.
    """
    margins = [x.gather(1, labels[:, None]) - x for x in (student, teacher)]
    others = student.shape[1] - 1
    return (margins[0] - margins[1]).square().sum(1).mean() / others


def uskd(student: Tensor, middle: Tensor, labels: Tensor, alpha: float, beta: float, mu: float) -> Tensor:
    """
    NKD's two terms from the student alone: its own squared probability of the true class, moved to a mean of 1, and
    shares by Zipf's law for the others, ranked by what its last layer and a head in its `middle` [B, C] think of them.

    Source: Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation" (2023). Places count
    among the other classes, from the first; their published code ranks logarithms where it means probabilities.
    """
    true = F.one_hot(labels, student.shape[1]).bool()
    own = F.log_softmax(student, dim=1)[true]
    squares = own.exp().square()
    target = -((squares + 1 - squares.mean()).detach() * own).mean()
    likely = (_among_others(student, true).exp() + _among_others(middle, true).exp()).masked_fill(true, -1)
    places = likely.argsort(1, descending=True).argsort(1)  # the true class is last
    shares = (1 / (places + 1)).masked_fill(true, 0)
    shares = shares / shares.sum(1, keepdim=True)
    others = -(shares * _among_others(student, true).masked_fill(true, 0)).sum(1).mean()
    return alpha * target + beta * others + mu * F.cross_entropy(middle, labels, label_smoothing=0.1)


def _binary(log_p: Tensor, true: Tensor) -> Tensor:
    """Log probabilities of the true class and of all others together, [B, 2]."""
    rest = torch.logsumexp(log_p.masked_fill(true, -torch.inf), dim=1)
    return torch.stack([log_p[true], rest], dim=1)


def _among_others(logits: Tensor, true: Tensor) -> Tensor:
    """Log probabilities within the classes that are not true; the true one's is far below all."""
    return F.log_softmax(logits.masked_fill(true, -1e9), dim=1)
