"""Students of text learn: embeddings from a teacher's, classes from labels and from a teacher's logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor, nn

from edgekd.engine.events import Progress
from edgekd.errors import ConfigError
from edgekd.text import tokens as texts
from edgekd.text.encoder import Encoder, States
from edgekd.text.folders import Model
from edgekd.text.lesson import Lesson
from edgekd.text.settings import DistillEmbedding, HiddenLoss, MiniLmLoss, RelationsLoss, TeachClasses
from edgekd.text.tokens import Tokens
from edgekd.train.lesson import NONE
from edgekd.train.lesson import Lesson as ClassLesson
from edgekd.train.loop import Batch, Batches, fit
from edgekd.train.losses.settings import CrossEntropyLoss, DkdLoss, KdLoss, Loss
from edgekd.train.settings import Training
from edgekd.train.terms import Said
from edgekd.train.watch import Watch

ANSWERED = 128  # texts that a teacher answers at a time
SAID_EVERY = 20  # of these
LOGITS = (KdLoss, CrossEntropyLoss, DkdLoss)


@torch.no_grad()
def answers(model: Model, tokens: Tokens, progress: Progress | None = None, precision: str = "float32") -> Tensor:
    """
    What a model says of each text: embeddings [N, D] or logits [N, C], in the texts' order.

    Raises ConfigError for texts that are longer than it reads.
    """
    check_length(model.net, tokens)
    net, was = model.net, model.net.training
    net.eval()
    order = tokens.lengths.argsort()
    parts = order.split(ANSWERED)
    found: Tensor | None = None
    for number, rows in enumerate(parts):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            said = net(*tokens.read(rows)).float()
        if found is None:
            found = said.new_empty(len(tokens), said.shape[1])
        found[rows] = said
        if progress is not None and number % SAID_EVERY == 0:
            progress.step(number + 1, len(parts), "batch")
    assert found is not None
    net.train(was)
    return found


def distil(
    model: Model, tokens: Tokens, targets: Tensor, settings: DistillEmbedding, scratch: Path, progress: Progress,
    teacher: Model, *, teacher_tokens: Tokens | None = None,
) -> Watch:  # fmt: skip
    """
    In place: the student comes to say what its teacher says, `targets` [N, D], of each text.

    Losses that look at the teacher's layers ask it in every step; then both read the same tokens. Raises ConfigError.
    A killed run goes on from the last snapshot in `scratch`.
    """
    net, train = model.net, settings.train
    check_length(net, tokens)
    lesson = Lesson(settings.losses, steps_of(tokens, train), net.shape, teacher.net.shape, train.seed)
    if lesson.needs_teacher and teacher_tokens is not None and not torch.equal(teacher_tokens.ids, tokens.ids):
        raise ConfigError("losses: these look at the teacher's layers, token by token, and the student's tokens differ")
    freeze(net, words=settings.freeze_words)
    teacher.net.eval()

    def objective(batch: Batch) -> Tensor:
        ids, mask = tokens.read(batch.x)
        own = net.states(ids, mask)
        answer = net.answer(own.pooled)
        theirs = asked(teacher.net, ids, mask, settings.losses) if lesson.needs_teacher else None
        value: Tensor = lesson(own, answer, targets[batch.x], mask, theirs)
        return value

    net.train()
    both = nn.ModuleDict({"net": net, "lesson": lesson})
    watch = fit(
        both, batches_of(tokens, train.batch), len(tokens), objective, train, scratch, progress, optimizer=adamw
    )
    net.eval()
    return watch


@torch.no_grad()
def asked(teacher: Encoder, ids: Tensor, mask: Tensor, losses: Sequence[Loss]) -> States:
    """The teacher's states; q, k and v of the layer that the relations name."""
    layer = next((loss.layer for loss in losses if isinstance(loss, RelationsLoss)), 0)
    return teacher.states(ids, mask, layer or None)


def teach(
    model: Model, tokens: Tokens, labels: Tensor, settings: TeachClasses, scratch: Path, progress: Progress,
    *, targets: Tensor | None = None, teacher: Model | None = None,
    right: Callable[[], tuple[int, int]] | None = None,
) -> Watch:  # fmt: skip
    """
    In place: the classifier learns `labels` [N], a teacher's logits `targets` [N, C], and what its layers hold; with
    `mixed` also of texts that the teacher alone says the classes of.

    Raises ConfigError for losses that need what is not given.
    """
    check_given(settings, targets, teacher)
    if settings.mixed and teacher is not None and targets is not None:
        made = texts.mixed(tokens, settings.mixed * len(tokens), settings.train.seed)
        targets = torch.cat([targets, answers(teacher, made, progress, settings.train.precision)])
        labels = torch.cat([labels, labels.new_full((len(made),), NONE)])
        tokens = tokens.beside(made)
    net, train, steps = model.net, settings.train, steps_of(tokens, settings.train)
    check_length(net, tokens)
    lesson = ClassLesson([loss for loss in settings.losses if isinstance(loss, LOGITS)], steps, model.config.num_labels)
    layers = [loss for loss in settings.losses if of_states(loss)]
    inner = Lesson(layers, steps, net.shape, teacher.net.shape, train.seed) if teacher is not None and layers else None
    freeze(net, words=settings.freeze_words)

    def objective(batch: Batch) -> Tensor:
        ids, mask = tokens.read(batch.x)
        own = net.states(ids, mask)
        said = Said(net.answer(nn.functional.dropout(own.pooled, settings.dropout, net.training)).float())
        value: Tensor = lesson(said, None if targets is None else Said(targets[batch.x]), labels[batch.x])
        if inner is None or teacher is None:
            return value
        theirs = asked(teacher.net, ids, mask, layers)
        return torch.cat([value, inner(own, own.pooled, theirs.pooled, mask, theirs).view(1)])

    net.train()
    both = nn.ModuleDict({"net": net, "lesson": lesson} | ({"inner": inner} if inner is not None else {}))
    watch = fit(both, batches_of(tokens, train.batch), len(tokens), objective, train, scratch, progress,
                right=right if train.looks else None, optimizer=adamw)  # fmt: skip
    net.eval()
    return watch


def check_length(net: Encoder, tokens: Tokens) -> None:
    """Raises ConfigError for texts that are longer than a net reads."""
    longest, most = int(tokens.lengths.max()), net.shape.max_positions
    if net.shape.layers and longest > most:
        raise ConfigError(
            f"texts of {longest} tokens, and the net reads {most}; cut them there, or raise max_positions"
        )


def of_states(loss: Loss) -> TypeGuard[MiniLmLoss | RelationsLoss | HiddenLoss]:
    return isinstance(loss, (MiniLmLoss, RelationsLoss, HiddenLoss))


def check_given(settings: TeachClasses, targets: Tensor | None, teacher: Model | None) -> None:
    """Raises ConfigError for a loss that needs what is not there."""
    for loss in settings.losses:
        if of_states(loss) and teacher is None:
            raise ConfigError(f"losses: {loss.name} looks at a teacher's layers, and there is no teacher")
        if "logits" in loss.needs and targets is None:
            raise ConfigError(f"losses: {loss.name} needs a teacher's logits, and there is no teacher")
    if settings.mixed and (teacher is None or not any("logits" in loss.needs for loss in settings.losses)):
        raise ConfigError(
            "mixed: a teacher has to say what these texts are: give one that reads the student's tokens, and kd"
        )
    if settings.mixed and any(isinstance(loss, DkdLoss) for loss in settings.losses):
        raise ConfigError("mixed: dkd has to know the class of every text; take kd")


def batches_of(tokens: Tokens, batch: int) -> Batches:
    """Rows [B], which an objective reads itself: in place of labels too, for they are counted."""

    def epoch(generator: torch.Generator) -> Iterator[Batch]:
        for rows in texts.buckets(tokens, batch, generator):
            yield Batch(rows, rows)

    return epoch


def steps_of(tokens: Tokens, train: Training) -> int:
    return train.epochs * math.ceil(len(tokens) / train.batch)


def freeze(net: Encoder, *, words: bool) -> None:
    net.words.weight.requires_grad_(not words)


def adamw(net: nn.Module, settings: Training) -> torch.optim.Optimizer:
    """Loshchilov and Hutter, "Decoupled weight decay regularization" (2019). Decay for matrices alone."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(settings.momentum, 0.999), eps=1e-8)
