"""
From general to the task, one change at a time: the teacher, the text, and what is compared.

Su et al., "ERNIE-Tiny: A progressive distillation framework for pretrained transformer compression" (2021), [26],
whose four stages are `FOUR_STAGES`: the pretrained teacher's layers on general text, those of the teacher that was
tuned, its layers and soft answers on the task's text, and the labels beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgekd.engine.events import Progress
from edgekd.errors import ConfigError
from edgekd.text.folders import Model
from edgekd.text.settings import TextStage
from edgekd.text.tokens import Tokens
from edgekd.text.train import answers, teach

DONE = "done.safetensors"


class Texts(NamedTuple):
    """General text, the task's, and the classes of that [N]."""

    general: Tokens
    task: Tokens
    labels: Tensor


class Teachers(NamedTuple):
    """As it was pretrained, an encoder, and as it was tuned to the task, a classifier."""

    pretrained: Model
    tuned: Model


def staged(
    model: Model, stages: Sequence[TextStage], texts: Texts, teachers: Teachers, scratch: Path, progress: Progress
) -> None:
    """
    In place, stage by stage. Each leaves its weights in `scratch`: a killed run goes on within its stage, and ends with
    the weights of an undisturbed one.

    Raises ConfigError, before anything is trained, for a stage whose losses its text or its teacher can't serve.
    """
    for number, stage in enumerate(stages, 1):
        check(number, stage)
    for number, stage in enumerate(stages, 1):
        folder = scratch / f"stage{number}"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / DONE).is_file():
            _learn(model, stage, texts, teachers, folder, progress)
            state = {name: value.contiguous() for name, value in model.net.state_dict().items()}
            save_file(state, folder / f"{DONE}.half")
            (folder / f"{DONE}.half").replace(folder / DONE)
        model.net.load_state_dict(load_file(folder / DONE))
        progress.say(f"stage {number} of {len(stages)}: {stage.text} text, {stage.teacher} teacher")


def check(number: int, stage: TextStage) -> None:
    """Raises ConfigError."""
    for loss in stage.learn.losses:
        if stage.text == "general" and "module" not in loss.needs:
            raise ConfigError(
                f"stage {number}: {loss.name} needs the task's classes, which general text hasn't; take hidden"
            )
        if stage.teacher == "pretrained" and "logits" in loss.needs:
            raise ConfigError(f"stage {number}: {loss.name} needs a teacher of the classes; set teacher to tuned")


def _learn(model: Model, stage: TextStage, texts: Texts, teachers: Teachers, folder: Path, progress: Progress) -> None:
    general = stage.text == "general"
    tokens = texts.general if general else texts.task
    labels = torch.full((len(tokens),), -1) if general else texts.labels
    teacher = teachers.pretrained if stage.teacher == "pretrained" else teachers.tuned
    soft = any("logits" in loss.needs for loss in stage.learn.losses)
    targets = answers(teacher, tokens) if soft else None
    teach(model, tokens, labels, stage.learn, folder, progress, targets=targets, teacher=teacher)
