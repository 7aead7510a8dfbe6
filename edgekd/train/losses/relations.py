"""Losses on how samples or classes stand to each other. Features are [B, D] or [B, C, H, W], logits [B, C]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dist(student: Tensor, teacher: Tensor, beta: float, gamma: float, temperature: float) -> Tensor:
    """
    Beta (1 - correlation of each sample's probabilities) + gamma (1 - correlation of each class's over the batch),
    times temperature**2.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher" (2022), section 3.
    """
    p, q = (F.softmax(x / temperature, dim=1) for x in (teacher, student))
    between, within = 1 - correlation(q, p).mean(), 1 - correlation(q.T, p.T).mean()
    return (beta * between + gamma * within) * temperature**2


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's, of each row: [N, M] and [N, M] to [N]."""
    return F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), dim=1, eps=1e-8)


def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """
    Huber loss of the distances between all pairs of the batch, each divided by their mean. [B, D] of any D.

    Source: Park et al., "Relational Knowledge Distillation" (2019), equations 6 and 8.
    """
    return F.smooth_l1_loss(_scaled_distances(student), _scaled_distances(teacher))


def rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """
    Huber loss of the cosines of the angles in all triangles of the batch. [B, D] of any D.

    Source: Park et al., "Relational Knowledge Distillation" (2019), equations 9 and 10.
    """
    return F.smooth_l1_loss(_angles(student), _angles(teacher))


def similarity(student: Tensor, teacher: Tensor) -> Tensor:
    """
    Square error of the batch's similarity matrices, rows of norm 1. Features [B, ...] of any size.

    Source: Tung and Mori, "Similarity-Preserving Knowledge Distillation" (2019), equations 2 to 4.
    """
    a, b = (F.normalize(x.flatten(1) @ x.flatten(1).T, dim=1) for x in (student, teacher))
    return (a - b).square().sum() / len(student) ** 2


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """
    Square error of where the features are large: mean squares over channels, of norm 1. [B, C, H, W] of any C.

    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention" (2017), equation 2; maps of another size
    are brought to the student's by averaging or interpolation.
    """
    maps = [x.square().mean(1, keepdim=True) for x in (student, teacher)]
    if maps[0].shape != maps[1].shape:
        maps[1] = F.interpolate(maps[1], maps[0].shape[2:], mode="bilinear", antialias=True)
    a, b = (F.normalize(x.flatten(1), dim=1) for x in maps)
    return (a - b).square().mean()


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """
    Mean square error of features of one shape, once a regressor has made them so.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets" (2015), equation 3.
    """
    return F.mse_loss(student, teacher)


def squarehead(student: Tensor, teacher: Tensor) -> Tensor:
    """
    Mean square error of features of one shape, over the mean square of the teacher's: layers of any scale count alike.

    Source: Kurtic et al., "Sparse fine-tuning for inference acceleration of large language models" (2023), equation 1,
    [63], for all positions of a map where theirs are tokens.
    """
    return F.mse_loss(student, teacher) / (teacher.square().mean() + torch.finfo(teacher.dtype).eps)


def _scaled_distances(x: Tensor) -> Tensor:
    apart = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    pairs = apart[apart > 0]
    return apart / pairs.mean().clamp(min=1e-12) if len(pairs) else apart  # of one sample, or of equal ones, all are 0


def _angles(x: Tensor) -> Tensor:
    """Cos of the angle at j between i and k, [B, B, B]; 0 where two of them are one."""
    sides = F.normalize(x[:, None] - x[None], dim=2, eps=1e-12)  # [i, j]: from j to i
    return torch.einsum("ijd,kjd->jik", sides, sides)
