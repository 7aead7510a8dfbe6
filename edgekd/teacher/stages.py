"""Settings of the teacher's stage; nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgekd.data.stages import Preprocess, Views
from edgekd.engine.stage import Stage
from edgekd.hardware.fingerprint import Cpu
from edgekd.models.shape import NetShape
from edgekd.resources import cores
from edgekd.settings import Settings
from edgekd.train.settings import Training

WORDS = {"logits": "logits", "module": "layers", "shape": "shape as one of edgekd's nets"}  # what teachers give


class TeacherTraining(Training):
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _has_no_teacher(self) -> TeacherTraining:
        if self.patience or self.distill_momentum:
            raise ValueError("patience and distill_momentum are of students; leave them out")
        return self


class Given(Settings):
    """A teacher that is given: what it is, and its digest, so that other bytes are another teacher."""

    kind: Literal["transformers", "module", "onnx"]
    path: str
    digest: str
    weights: str | None = None
    function: str = "model"
    labels: tuple[str, ...] = ()  # of its answers, in their order; without them they are taken for the data's
    revision: str | None = None
    shape: NetShape | None = None  # of one of edgekd's own

    @property
    def gives(self) -> frozenset[str]:
        """What losses and scores may ask of it."""
        if self.kind == "onnx":
            return frozenset({"logits"})
        return frozenset({"logits", "module"} | ({"shape"} if self.shape else set()))


class LoadTeacher(Settings):
    given: Given


class CheckTeacher(Settings):
    """How many of the data's samples a given teacher answers right, before anything is learnt from it."""

    preprocess: Preprocess
    trust: bool
    images: int = Field(default=512, ge=16)
    seed: int = 0


class KeptViews(Settings):
    """How many views of each sample a teacher answers once, for all students and epochs."""

    views: int = Field(default=16, ge=1)
    top: int = Field(default=16, ge=1)  # logits that are kept of each, where there are more than 32 classes
    seed: int = Field(default=0, ge=0)


class MakeTargets(Settings):
    kept: KeptViews
    views: Views
    preprocess: Preprocess
    threads: int = Field(default_factory=cores, ge=1)


class MeasureRates(Settings):
    preprocess: Preprocess
    cpu: Cpu  # what is measured is this machine's
    images: int = Field(default=256, ge=1)
    rounds: int = Field(default=3, ge=1)
    threads: int = Field(default_factory=cores, ge=1)


class ChooseForm(Settings):
    margin_points: float = Field(default=0.5, ge=0)  # that an int8 teacher may be worse on val


class PoolTeachers(Settings):
    shares: tuple[float, ...] = Field(min_length=2)  # of each in their mean, the first teacher's first


class RandomTeacher(Settings):
    """A control: the teacher's own shape with fresh weights. What it teaches is no knowledge."""

    seed: int = 0


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
    version=2,
    uses=("torch", "transformers", "onnxruntime"),
)
CHECK = Stage[CheckTeacher](
    "teacher.check",
    "edgekd.teacher.check:run",
    takes={"teacher": "checkpoint", "data": "dataset"},
    gives="teacher-check",
    uses=("torch", "transformers", "onnxruntime", "scipy"),
    typical_s=8.0,
)
TARGETS = Stage[MakeTargets](
    "teacher.targets",
    "edgekd.teacher.targets:run",
    takes={"data": "dataset", "teacher": "checkpoint", "model": "exported"},
    may_lack=("teacher", "model"),  # one of them: what it was trained as, or its fastest file
    gives="targets",
    version=2,
    uses=("torch", "transformers", "onnxruntime"),
    cost=lambda settings: settings.kept.views,
    memory="distill.targets.views",
    typical_s=5.0,
)
RATES = Stage[MeasureRates](
    "teacher.rates",
    "edgekd.teacher.form:run_rates",
    takes={"data": "dataset", "teacher": "checkpoint", "model.*": "exported"},
    gives="rates",
    nature="observation",
    uses=("torch", "transformers", "onnxruntime"),
    typical_s=6.0,
)
FORM = Stage[ChooseForm](
    "teacher.form",
    "edgekd.teacher.form:run_form",
    takes={"rates": "rates", "val.*": "predictions"},
    gives="decision",
    nature="decision",
)
POOL = Stage[PoolTeachers](
    "teacher.pool", "edgekd.teacher.pool:run", takes={"teacher.*": "checkpoint"}, gives="checkpoint"
)
RANDOM = Stage[RandomTeacher](
    "teacher.random",
    "edgekd.teacher.random:run",
    takes={"teacher": "checkpoint"},
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
