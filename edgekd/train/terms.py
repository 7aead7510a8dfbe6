"""Losses that learn or remember something: projectors, heads, a queue, a schedule of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.errors import ConfigError
from edgekd.train.losses import divergences, labelled, relations
from edgekd.train.losses.settings import (
    AttentionLoss,
    CkdLoss,
    HintLoss,
    LossSettings,
    OfaStagesLoss,
    RkdLoss,
    SimilarityLoss,
    SquareHeadLoss,
    TaidLoss,
    UskdLoss,
)

Shape = tuple[int, ...]  # of an output, without the batch
Shapes = Mapping[str, Shape]


class Said(NamedTuple):
    """A net's logits [B, K] and its named features."""

    logits: Tensor
    features: Mapping[str, Tensor] = {}


def term(loss: LossSettings, classes: int, student: Shapes, teacher: Shapes) -> nn.Module | None:
    """
    The module of a loss that learns or remembers something: from what student and teacher said and the labels to a
    scalar. None for a pure function of logits. Raises ConfigError for shapes.
    """
    if isinstance(loss, TaidLoss):
        return Taid(loss)
    if isinstance(loss, UskdLoss):
        return Uskd(loss, {name: student[name] for name in loss.outputs}, classes)
    if isinstance(loss, OfaStagesLoss):
        return OfaStages(loss, {name: student[name] for name in loss.outputs}, classes)
    if isinstance(loss, (HintLoss, AttentionLoss, SimilarityLoss, SquareHeadLoss, RkdLoss, CkdLoss)):
        shapes = [(student[a], teacher[b]) for a, b in loss.pairs]
        check_shapes(loss, shapes)
        return Ckd(loss, shapes) if isinstance(loss, CkdLoss) else Pairs(loss, shapes)
    return None


def check_shapes(loss: LossSettings, shapes: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    """Raises ConfigError for pairs that a loss cannot compare, before anything is trained."""
    for (a, b), (own, theirs) in zip(getattr(loss, "pairs", ()), shapes, strict=True):
        told = f"distill.losses: {loss.name}: {a!r} is {_told(own)} and the teacher's {b!r} {_told(theirs)}"
        if loss.name == "ckd" and not {len(own), len(theirs)} <= {1, 3}:
            raise ConfigError(f"{told}; ckd compares vectors [B, C], or maps [B, C, H, W] that it averages")
        if loss.name == "attention" and not len(own) == len(theirs) == 3:
            raise ConfigError(f"{told}; attention compares maps [B, C, H, W]: name layers before pooling")
        if loss.name == "squarehead" and own != theirs:
            raise ConfigError(f"{told}; squarehead compares outputs of one shape: take hint, whose projector learns")
        if loss.name == "hint" and len(own) != len(theirs):
            raise ConfigError(f"{told}; a hint needs both as maps [B, C, H, W], or both as vectors [B, C]")
        if loss.name == "hint" and len(own) == 3 and (own[1] < theirs[1] or own[1] % theirs[1]):
            raise ConfigError(f"{told}; the student's map can be averaged down to a size that divides its own alone")


def _told(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(("B", *map(str, shape))) + "]"


OfPairs = HintLoss | AttentionLoss | SimilarityLoss | SquareHeadLoss | RkdLoss


class Pairs(nn.Module):
    """A loss of paired features; hints go through a projector, which maps the student's channels to the teacher's."""

    def __init__(self, loss: OfPairs, shapes: Sequence[tuple[Shape, Shape]]) -> None:
        super().__init__()
        self.loss = loss
        projectors = [projector(own, theirs) for own, theirs in shapes] if isinstance(loss, HintLoss) else []
        self.projectors = nn.ModuleList(projectors)

    def forward(self, student: Said, teacher: Said, _labels: Tensor) -> Tensor:
        values = []
        for number, (a, b) in enumerate(self.loss.pairs):
            own, theirs = student.features[a], teacher.features[b]
            if isinstance(self.loss, HintLoss):
                values.append(relations.hint(self.projectors[number](sized(own, theirs)), theirs))
            elif isinstance(self.loss, AttentionLoss):
                values.append(relations.attention(own, theirs))
            elif isinstance(self.loss, SimilarityLoss):
                values.append(relations.similarity(own, theirs))
            elif isinstance(self.loss, SquareHeadLoss):
                values.append(relations.squarehead(own, theirs))
            else:
                x, y = own.flatten(1), theirs.flatten(1)
                far, turned = relations.rkd_distance(x, y), relations.rkd_angle(x, y)
                values.append(self.loss.distance * far + self.loss.angle * turned)
        return torch.stack(values).sum()


def projector(own: tuple[int, ...], theirs: tuple[int, ...]) -> nn.Module:
    """From the student's channels to the teacher's: a 1 x 1 convolution of maps, a matrix for vectors."""
    return nn.Conv2d(own[0], theirs[0], 1) if len(own) == 3 else nn.Linear(own[0], theirs[0])


def sized(own: Tensor, theirs: Tensor) -> Tensor:
    """Maps of the teacher's height and width, by averaging."""
    if own.ndim != 4 or own.shape[2:] == theirs.shape[2:]:
        return own
    return F.adaptive_avg_pool2d(own, (theirs.shape[2], theirs.shape[3]))


class Taid(nn.Module):
    """
    The target moves from the student to the teacher: faster where the loss falls, never back.

    Shing et al., "TAID" (2025), [5]: t grows by rate x sigmoid(momentum of the relative fall) x (1 - t),
    and no slower than a line from `first` to 1 over all steps.
    """

    share: Tensor
    fall: Tensor
    before: Tensor

    def __init__(self, loss: TaidLoss) -> None:
        super().__init__()
        self.loss = loss
        for name, value in (("share", loss.first), ("fall", 0.0), ("before", float("nan"))):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    def forward(self, student: Said, teacher: Said, _labels: Tensor) -> Tensor:
        value = divergences.taid(student.logits, teacher.logits, float(self.share))
        if self.training and torch.is_grad_enabled():
            self.move(float(value.detach()))
        return value

    def move(self, value: float) -> None:
        before = float(self.before)
        if before == before and before > 0:  # not the first
            self.fall.mul_(self.loss.momentum).add_((1 - self.loss.momentum) * (before - value) / (before + 1e-15))
            self.share.add_(self.loss.rate * torch.sigmoid(self.fall) * (1 - self.share))
        self.before.fill_(value)

    def at_least(self, done: float) -> None:
        self.share.clamp_(min=self.loss.first + (1 - self.loss.first) * min(1.0, done), max=1.0)


class OfaStages(nn.Module):
    """
    A head of its own on each named output, that learns the teacher's classes: hints for nets of another kind.

    Hao et al., "One-for-all" (2023), [34]: their projectors are deeper; here the mean over pixels and two layers.
    """

    def __init__(self, loss: OfaStagesLoss, shapes: Shapes, classes: int) -> None:
        super().__init__()
        self.loss = loss
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(shapes[name][0], 4 * classes), nn.ReLU(), nn.Linear(4 * classes, classes))
            for name in loss.outputs
        )

    def forward(self, student: Said, teacher: Said, labels: Tensor) -> Tensor:
        values = []
        for name, head in zip(self.loss.outputs, self.heads, strict=True):
            x = student.features[name]
            pooled = x.mean((2, 3)) if x.ndim == 4 else x
            values.append(labelled.ofa(head(pooled), teacher.logits, labels, self.loss.exponent))
        return torch.stack(values).sum()


class Uskd(nn.Module):
    """The head in the middle of a student that teaches itself: the mean over pixels and one layer."""

    def __init__(self, loss: UskdLoss, shapes: Shapes, classes: int) -> None:
        super().__init__()
        self.loss = loss
        self.head = nn.Linear(shapes[loss.outputs[0]][0], classes)

    def forward(self, student: Said, _teacher: Said | None, labels: Tensor) -> Tensor:
        x = student.features[self.loss.outputs[0]]
        middle = self.head(x.mean((2, 3)) if x.ndim == 4 else x)
        return labelled.uskd(student.logits, middle, labels, self.loss.alpha, self.loss.beta, self.loss.mu)


class Ckd(nn.Module):
    """
    The teacher's embedding of the same sample against a queue of its embeddings of others, by InfoNCE.

    Gao et al., "DistilCSE" (2021), [295]. The queue starts with random directions, which its first batches
    replace. A projector stands between where the widths differ; it folds into the student's last layer or is dropped.
    """

    next: Tensor

    def __init__(self, loss: CkdLoss, shapes: Sequence[tuple[Shape, Shape]]) -> None:
        super().__init__()
        self.loss = loss
        pairs = [(own[0], theirs[0]) for own, theirs in shapes]
        self.projectors = nn.ModuleList(nn.Identity() if a == b else nn.Linear(a, b, bias=False) for a, b in pairs)
        for number, (_, width) in enumerate(pairs):
            self.register_buffer(f"queue{number}", F.normalize(torch.randn(loss.queue, width), dim=1))
        self.register_buffer("next", torch.zeros(len(pairs), dtype=torch.int64))

    def forward(self, student: Said, teacher: Said, _labels: Tensor) -> Tensor:
        values = []
        for number, (a, b) in enumerate(self.loss.pairs):
            own, theirs = (x.mean((2, 3)) if x.ndim == 4 else x for x in (student.features[a], teacher.features[b]))
            queue: Tensor = getattr(self, f"queue{number}")
            projected, keys = self.projectors[number](own), F.normalize(theirs, dim=1)
            values.append(info_nce(projected, keys, queue.clone(), self.loss.temperature))
            if self.training and torch.is_grad_enabled():
                last = keys[-len(queue) :].to(queue.dtype)
                places = (torch.arange(len(last)) + self.next[number]) % len(queue)
                queue[places] = last
                self.next[number] = (int(self.next[number]) + len(last)) % len(queue)
        return torch.stack(values).sum()


def info_nce(student: Tensor, teacher: Tensor, others: Tensor, temperature: float) -> Tensor:
    """-log of the share of a sample's own teacher embedding [B, D] among it and `others` [Q, D], by cosine."""
    own = F.normalize(student, dim=1)
    own_one = (own * teacher).sum(1, keepdim=True)
    scores = torch.cat([own_one, own @ others.T], dim=1) / temperature
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.int64))
