"""Settings of the teacher's stage; nothing heavy is imported here."""

from __future__ import annotations

from pydantic import Field

from edgekd.data.stages import Preprocess, Views
from edgekd.engine.stage import Stage
from edgekd.models.shape import NetShape
from edgekd.settings import Settings
from edgekd.train.settings import Training


class TeacherTraining(Training):
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)


class LoadTeacher(Settings):
    """A teacher from a folder of ours: config.json and model.safetensors, its classes those of the data."""

    folder: str
    digest: str  # of both files, so that other bytes are another teacher


class TrainTeacher(Settings):
    shape: NetShape
    train: TeacherTraining
    preprocess: Preprocess
    views: Views


LOAD = Stage[LoadTeacher](
    "teacher.load",
    "edgekd.teacher.load:run",
    takes={"data": "dataset"},
    gives="checkpoint",
    uses=("torch", "transformers"),
)
TRAIN = Stage[TrainTeacher](
    "teacher.train",
    "edgekd.teacher.train:run",
    takes={"data": "dataset"},
    gives="checkpoint",
    uses=("torch", "transformers"),
    cost=lambda settings: settings.train.epochs,
    memory="teacher.train.batch",
    typical_s=7.0,
)
