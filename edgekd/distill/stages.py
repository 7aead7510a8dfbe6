"""Settings of the distillation stage; nothing heavy is imported here."""

from __future__ import annotations

from pydantic import Field

from edgekd.data.stages import Preprocess, Views
from edgekd.engine.stage import Stage
from edgekd.settings import Settings
from edgekd.train.losses.settings import LossSettings
from edgekd.train.settings import Training


class DistillFloat(Settings):
    losses: tuple[LossSettings, ...] = Field(min_length=1)
    train: Training
    preprocess: Preprocess
    views: Views


FLOAT = Stage[DistillFloat](
    "distill.float",
    "edgekd.distill.float_phase:run",
    takes={"data": "dataset", "teacher": "checkpoint", "student": "decision"},
    gives="checkpoint",
    uses=("torch", "transformers"),
    cost=lambda settings: settings.train.epochs,
    memory="distill.batch",
    typical_s=4.0,
)
