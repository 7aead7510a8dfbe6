"""The configured losses as one module, with their weights over the steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.train.losses.logits import LOSSES
from edgekd.train.losses.settings import LossSettings
from edgekd.train.terms import Said, Shapes, Taid, term

NONE = -1  # the label of what has none


class Lesson(nn.Module):
    """
    All losses of a pipeline over `steps` steps. Its forward gives [what labels say, what the teacher says], weighted.

    A student with two heads has one that losses of labels teach, and one for the teacher's.
    What it holds is trained and kept with the student, and dropped with the lesson: nothing of it is exported.
    """

    taken: Tensor  # steps

    def __init__(
        self, losses: Sequence[LossSettings], steps: int, classes: int = 0, student: Shapes | None = None,
        teacher: Shapes | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.losses, self.steps = tuple(losses), steps
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))
        state = torch.get_rng_state()
        torch.manual_seed(seed)  # of projectors, and of nothing else
        self.terms = nn.ModuleDict(
            {
                str(number): made
                for number, loss in enumerate(self.losses)
                if (made := term(loss, classes, student or {}, teacher or {})) is not None
            }
        )
        torch.set_rng_state(state)

    def forward(self, student: Said, teacher: Said | None, labels: Tensor) -> Tensor:
        done = float(self.taken) / max(1, self.steps)
        sums = [student.logits.new_zeros(()), student.logits.new_zeros(())]
        for number, loss in enumerate(self.losses):
            weight = loss.weight_at(done)
            if not weight:
                continue
            head = student.features.get("taught_head" if loss.needs else "label_head", student.logits)
            value = self._value(number, student._replace(logits=head), teacher, labels)
            sums[bool(loss.needs)] = sums[bool(loss.needs)] + weight * value
        if student.logits.requires_grad and not any(part.requires_grad for part in sums):  # no loss counts now
            sums[0] = student.logits.sum() * 0
        if self.training and torch.is_grad_enabled():
            self.taken += 1
        return torch.stack(sums)

    def _value(self, number: int, student: Said, teacher: Said | None, labels: Tensor) -> Tensor:
        loss = self.losses[number]
        if loss.name == "cross-entropy":
            if labels.ndim == 1 and not (labels >= 0).any():
                return student.logits.sum() * 0
            return F.cross_entropy(student.logits, labels, ignore_index=NONE, label_smoothing=loss.label_smoothing)
        if teacher is None and loss.needs:
            raise ValueError(f"{loss.name}: needs a teacher")
        if str(number) in self.terms:
            made = self.terms[str(number)]
            if isinstance(made, Taid):
                made.at_least(float(self.taken) / max(1, self.steps - 1))
            found: Tensor = made(student, teacher, labels)
            return found
        assert teacher is not None
        return LOSSES[loss.name](loss, student.logits, teacher.logits, labels)
