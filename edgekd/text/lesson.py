"""The losses of an embedding student as one module: what it learns or remembers is dropped after the training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.errors import ConfigError
from edgekd.text import losses
from edgekd.text.encoder import States
from edgekd.text.settings import (
    CosineLoss,
    EmbeddingLoss,
    EmbeddingLosses,
    HiddenLoss,
    MarginsLoss,
    MiniLmLoss,
    QueueLoss,
    RelationsLoss,
    SimilaritiesLoss,
)
from edgekd.text.shape import EncoderShape
from edgekd.text.truncate import evenly


class Lesson(nn.Module):
    """All losses over `steps` steps, weighted and added up."""

    taken: Tensor
    held: Tensor
    next: Tensor

    def __init__(
        self, told: Sequence[EmbeddingLosses], steps: int, student: EncoderShape, teacher: EncoderShape, seed: int = 0
    ) -> None:
        super().__init__()
        self.told, self.steps, self.student, self.teacher = tuple(told), steps, student, teacher
        check(told, student, teacher)
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))
        queue = next((loss.queue for loss in told if isinstance(loss, QueueLoss)), 0)
        # random directions at first, which the first batches replace
        held = torch.randn(queue, teacher.output_size, generator=generator)
        self.register_buffer("held", F.normalize(held, dim=1))
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))
        self.projectors = nn.ModuleList()
        if any(isinstance(loss, HiddenLoss) for loss in told):
            for _ in range(student.layers + 1):
                self.projectors.append(_projector(student.hidden_size, teacher.hidden_size, generator))

    @property
    def needs_teacher(self) -> bool:
        """Whether it has to answer while the student learns: its embeddings alone are kept."""
        return any("module" in loss.needs for loss in self.told)

    def forward(self, own: States, answer: Tensor, target: Tensor, mask: Tensor, theirs: States | None) -> Tensor:
        """`answer` and `target` [B, D] are the student's and the teacher's embeddings."""
        done = float(self.taken) / max(1, self.steps)
        total = answer.new_zeros(())
        for loss in self.told:
            if weight := loss.weight_at(done):
                total = total + weight * self._value(loss, own, answer.float(), target, mask, theirs)
        if self.training and torch.is_grad_enabled():
            self.taken += 1
            if len(self.held):
                self._remember(target)
        return total

    def _value(
        self, loss: EmbeddingLosses, own: States, answer: Tensor, target: Tensor, mask: Tensor, theirs: States | None
    ) -> Tensor:
        if isinstance(loss, EmbeddingLoss):
            return losses.embedding(answer, target)
        if isinstance(loss, CosineLoss):
            return losses.cosine(answer, target)
        if isinstance(loss, SimilaritiesLoss):
            return losses.similarities(answer, target)
        if isinstance(loss, MarginsLoss):
            return losses.margins(answer, target)
        if isinstance(loss, QueueLoss):
            return losses.queue(answer, target, self.held, loss.temperature)
        assert theirs is not None
        return self._of_states(loss, own, mask, theirs)

    def _of_states(self, loss: EmbeddingLosses, own: States, mask: Tensor, theirs: States) -> Tensor:
        if isinstance(loss, HiddenLoss):
            places = [0, *(n + 1 for n in evenly(self.teacher.layers, self.student.layers))]
            each = [
                losses.hidden(projector(x), theirs.hidden[place], mask, scaled=loss.scaled)
                for projector, x, place in zip(self.projectors, own.hidden, places, strict=True)
            ]
            return torch.stack(each).mean()
        pairs = [(a, b) for a, b in zip(own[1:4], theirs[1:4], strict=True) if a is not None and b is not None]
        if isinstance(loss, MiniLmLoss):
            (q, their_q), (k, their_k), (v, their_v) = pairs
            return losses.attention((q, k), (their_q, their_k), mask) + losses.relation(v, their_v, mask)
        assert isinstance(loss, RelationsLoss)
        heads = loss.relation_heads
        each = [
            losses.relation(losses.relation_heads(a, heads), losses.relation_heads(b, heads), mask, loss.measure)
            for a, b in pairs
        ]
        return torch.stack(each).sum()

    def _remember(self, target: Tensor) -> None:
        """The batch's embeddings in the place of the oldest."""
        places = (self.next + torch.arange(len(target))) % len(self.held)
        self.held[places] = F.normalize(target.detach(), dim=1)
        self.next.copy_((self.next + len(target)) % len(self.held))


def check(told: Sequence[EmbeddingLosses], student: EncoderShape, teacher: EncoderShape) -> None:
    """Raises ConfigError for losses that these two can't have, before anything is trained."""
    if student.output_size != teacher.output_size:
        raise ConfigError(
            f"the student's embeddings have {student.output_size} dimensions, the teacher's {teacher.output_size}; "
            f"set output_size to {teacher.output_size}"
        )
    for loss in told:
        if "module" in loss.needs and not student.layers:
            raise ConfigError(f"losses: {loss.name} looks at layers, and the student has none; take embedding")
        if isinstance(loss, MiniLmLoss) and student.heads[-1] != teacher.heads[-1]:
            raise ConfigError(
                f"losses: minilm compares {student.heads[-1]} heads of the student with {teacher.heads[-1]} of the "
                "teacher; take relations, whose heads are free"
            )
        if isinstance(loss, RelationsLoss):
            least = min(shape.heads[-1] * shape.head_size for shape in (student, teacher))
            if loss.relation_heads > least:
                raise ConfigError(f"losses: relation_heads {loss.relation_heads} of a width of {least}; lower it")
            if loss.layer > teacher.layers:
                raise ConfigError(f"losses: relations of layer {loss.layer}; the teacher has {teacher.layers}")


def _projector(width: int, to: int, generator: torch.Generator) -> nn.Module:
    if width == to:
        return nn.Identity()
    made = nn.Linear(width, to, bias=False)
    with torch.no_grad():
        made.weight.copy_(torch.randn(to, width, generator=generator) * width**-0.5)
    return made
