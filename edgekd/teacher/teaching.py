"""What every distilling phase needs: a lesson that fits student and teacher, and a teacher that answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edgekd.data.dataset import Samples
from edgekd.data.stages import Preprocess
from edgekd.models import checkpoint, foreign
from edgekd.models.features import HEADS, Featured, Listening, alikeness, known
from edgekd.models.residual_cnn import ResidualCnn
from edgekd.teacher.answers import answers_of
from edgekd.train.batches import normalised, pixels
from edgekd.train.lesson import Lesson
from edgekd.train.loop import Batch
from edgekd.train.losses.settings import LossSettings, asked_of
from edgekd.train.terms import Said, Shapes

LOOKED_AT = 256  # samples a batch of val, and at most so many for CKA
UNLIKE = 0.3  # of CKA


@dataclass(frozen=True)
class Teaching:
    """`names` are the student's outputs that losses ask for: its graph gives them beside the logits."""

    lesson: Lesson
    names: tuple[str, ...]
    teacher: Callable[[Tensor], Said] | None  # None where no loss asks, or its answers were kept

    def loss(self, answer: Tensor | Sequence[Tensor], batch: Batch) -> Tensor:
        """[what labels say, what the teacher says], of the student's answer to the batch."""
        logits, features = (answer, ()) if isinstance(answer, Tensor) else (answer[0], answer[1:])
        student = Said(logits, dict(zip(self.names, features, strict=True)))
        if self.teacher is not None:
            taught: Said | None = self.teacher(batch.x)
        else:
            taught = None if batch.targets is None else Said(batch.targets)
        value: Tensor = self.lesson(student, taught, batch.labels)
        return value


def teaching(
    losses: Sequence[LossSettings], teacher: Path | None, net: nn.Module, image: tuple[int, int, int], classes: int,
    steps: int, *, kept: bool = False, seed: int = 0,
) -> Teaching:  # fmt: skip
    """
    Of a checkpoint in `teacher`; with `kept` its logits come with the batches. Raises ConfigError for outputs that are
    not there and shapes that do not go together, before anything is trained.
    """
    own, theirs = asked_of(losses)
    own = (*own, *(HEADS if getattr(net, "dual_head", None) is not None else ()))
    asked = any(loss.needs for loss in losses)
    live = teacher if asked and teacher is not None and not (kept and not theirs) else None
    saying = saying_of(live, theirs) if live is not None else None
    x = torch.zeros(2, *image)
    shapes = (_shapes(Said(*_said(net, own, x))) if own else {}, _shapes(saying(x)) if saying and theirs else {})
    return Teaching(Lesson(losses, steps, classes, *shapes, seed=seed), own, saying)


def saying_of(folder: Path, names: Sequence[str]) -> Callable[[Tensor], Said]:
    """A teacher's logits and named features, without gradients."""
    about = foreign.described(folder)
    if not names:
        answer = answers_of(folder)
        return lambda x: Said(answer(x))
    net = checkpoint.net_of(folder)
    if about is None:
        checkpoint.channels_last(net)
    listening = Listening(net, names)

    def said(x: Tensor) -> Said:
        with torch.no_grad():
            return Said(*listening(x if about is None else x.contiguous()))

    return said


def with_outputs(net: nn.Module, names: Sequence[str]) -> nn.Module:
    return Featured(_own(net), names) if names else net


def _own(net: nn.Module) -> ResidualCnn:
    assert isinstance(net, ResidualCnn)  # pipelines that ask another student for its features are refused
    return net


def unlike(teaching: Teaching, net: nn.Module, x: Tensor, teacher: Path | None) -> list[str]:
    """
    A sentence for every hint between outputs that are little alike (CKA), and which of all the outputs of a teacher of
    edgekd's own would be more so, or of those that the recipe names of any other. x [B, ...].
    """
    pairs = [(loss.name, *pair) for loss in teaching.lesson.losses for pair in getattr(loss, "pairs", ())]
    if not pairs or teaching.teacher is None or teacher is None:
        return []
    own = Said(*_said(net, teaching.names, x))
    theirs = teaching.teacher(x) if foreign.described(teacher) is not None else _all_of(teacher, x)
    alike = alikeness(own.features, theirs.features)
    found = []
    for name, a, b in pairs:
        if alike[a][b] < UNLIKE:
            best = max(alike[a], key=alike[a].__getitem__)
            better = f"; the teacher's {best!r} is more so ({alike[a][best]:.2f})" if alike[a][best] > UNLIKE else ""
            found.append(
                f"{name}: the student's {a!r} and the teacher's {b!r} are little alike before training (CKA "
                f"{alike[a][b]:.2f} of 1){better}; between nets of different kinds ofa-stages or logits alone do better"
            )
    return found


def _all_of(teacher: Path, x: Tensor) -> Said:
    net = checkpoint.load(teacher).net
    return Said(*_said(net, known(net), x))


def right_on(net: nn.Module, val: Samples, preprocess: Preprocess) -> Callable[[], tuple[int, int]]:
    """Looks at val: how many of it the net has right in evaluation mode, and how many there are."""
    labels = torch.from_numpy(val.labels)

    def right() -> tuple[int, int]:
        net.eval()
        with torch.no_grad():
            found = sum(
                int((net(normalised(pixels(val, rows), preprocess)).argmax(1) == labels[rows]).sum())
                for rows in torch.arange(len(labels)).split(LOOKED_AT)
            )
        net.train()
        return found, len(labels)

    return right


def _said(net: nn.Module, names: Sequence[str], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """In evaluation mode; the net is left in the mode that it was in."""
    was = net.training
    with torch.no_grad():
        answer = Featured(_own(net), names).eval()(x)
    net.train(was)
    return answer[0], dict(zip(names, answer[1:], strict=True))


def _shapes(said: Said) -> Shapes:
    return {name: tuple(value.shape[1:]) for name, value in said.features.items()}
