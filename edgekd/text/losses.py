"""Losses of embeddings [B, D], and of what attention is made of [B, A, T, d] under a mask [B, T]."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.text.encoder import MASKED, hidden_from


def embedding(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared distance; of embeddings of length 1 that is 2 - 2 cosine."""
    return (student - teacher).square().sum(1).mean()


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(student, teacher, dim=1).mean()


def scores(x: Tensor) -> Tensor:
    """The cosines of all pairs of a batch [B, B]."""
    x = F.normalize(x, dim=1)
    return x @ x.T


def similarities(student: Tensor, teacher: Tensor) -> Tensor:
    """
    The mean squared difference of the cosines of all pairs of different texts.

    Source: the cosine form of Passalis and Tefas, "Learning deep representations with probabilistic knowledge transfer"
    (2018), with a square error in the place of its divergence.
    """
    if len(student) < 2:  # the last batch of a run may hold one text
        return student.sum() * 0
    others = ~torch.eye(len(student), dtype=torch.bool)
    return (scores(student) - scores(teacher))[others].square().mean()


def queue(student: Tensor, teacher: Tensor, held: Tensor, temperature: float) -> Tensor:
    """
    InfoNCE of the teacher's embedding of the same text against those `held` [Q, D] of other texts.

    Source: Gao et al., "DistilCSE" (2021), equation 3, [295].
    """
    student, teacher, held = (F.normalize(x, dim=1) for x in (student, teacher, held))
    own = (student * teacher).sum(1, keepdim=True)
    answers = torch.cat([own, student @ held.T], 1) / temperature
    return F.cross_entropy(answers, torch.zeros(len(student), dtype=torch.int64))


def margins(student: Tensor, teacher: Tensor) -> Tensor:
    """
    Square error of the margins of each text's scores: of the text that the teacher finds nearest over every other.

    Source: Hofstätter et al., "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge
    Distillation" (2020), [33], where the other texts of a batch are the documents. Adding a constant to the scores of
    either changes nothing.
    """
    count = len(student)
    if count < 3:
        return student.sum() * 0
    others = ~torch.eye(count, dtype=torch.bool)
    own, theirs = (scores(x)[others].view(count, count - 1) for x in (student, teacher))
    nearest = theirs.argmax(1, keepdim=True)
    apart = (own.gather(1, nearest) - own) - (theirs.gather(1, nearest) - theirs)
    return apart.square().sum(1).mean() / (count - 2)


def relation_heads(x: Tensor, heads: int) -> Tensor:
    """
    What attention heads made [B, A, T, d], its heads put side by side and split anew: [B, heads, T, A d // heads].

    Of a width that `heads` does not divide the last few are left out, as AutoDistil's code does it.
    """
    batch, _, length, _ = x.shape
    wide = x.transpose(1, 2).reshape(batch, length, -1)
    size = wide.shape[2] // heads
    return wide[:, :, : size * heads].view(batch, length, heads, size).transpose(1, 2)


def relation(student: Tensor, teacher: Tensor, mask: Tensor, measure: str = "kl") -> Tensor:
    """
    How tokens relate to each other, x x^T / sqrt(d) [B, R, T, T], in student and teacher, whose widths may differ.

    With `kl` the divergence of the rows' softmax, KL(teacher || student), the mean over relation heads and tokens:
    Wang et al., "MiniLMv2" (2021), equations 4 to 6, [298]. With `mse` the mean square error of the products
    themselves, over pairs of tokens: Xu et al., "AutoDistil" (2022), as published in its code.
    """
    return divergence(products(student, student), products(teacher, teacher), mask, measure)


def attention(student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
    """
    KL(teacher || student) of attention distributions, from queries and keys [B, A, T, d] of both.

    Source: Wang et al., "MiniLM" (2020), equation 5, [85].
    """
    return divergence(products(*student), products(*teacher), mask, "kl")


def products(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.transpose(-1, -2) / math.sqrt(a.shape[-1])


def divergence(student: Tensor, teacher: Tensor, mask: Tensor, measure: str) -> Tensor:
    """Of products [B, R, T, T]: rows and columns of padding do not count."""
    student, teacher = student.float(), teacher.float()
    counted = mask.to(student.dtype)
    if measure == "mse":
        both = (counted[:, None, :, None] * counted[:, None, None, :]).expand_as(student)
        return ((student - teacher).square() * both).sum() / both.sum()
    added = hidden_from(mask, MASKED)
    own, theirs = (student + added).log_softmax(-1), (teacher + added).log_softmax(-1)
    each = (theirs.exp() * (theirs - own)).sum(-1)  # [B, R, T]
    rows = counted[:, None].expand_as(each)
    return (each * rows).sum() / rows.sum()


def hidden(student: Tensor, teacher: Tensor, mask: Tensor, *, scaled: bool = False) -> Tensor:
    """
    The mean square error of tokens [B, T, H], without padding; `scaled` divides it by the teacher's mean square.

    Source of that: Kurtic et al., "Sparse fine-tuning for inference acceleration of large language models" (2023),
    equation 1, SquareHead, [63].
    """
    student, teacher = student.float(), teacher.float()
    counted = mask.to(student.dtype)[:, :, None].expand_as(student)
    apart = ((student - teacher).square() * counted).sum()
    return apart / ((teacher.square() * counted).sum() + 1e-12) if scaled else apart / counted.sum()
