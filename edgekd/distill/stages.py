"""Settings of the distillation stages; nothing heavy is imported here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from edgekd.data.stages import Preprocess, Split, Views
from edgekd.engine.stage import Stage
from edgekd.hardware.fingerprint import Cpu
from edgekd.models.shape import NetShape
from edgekd.resources import cores
from edgekd.settings import Settings
from edgekd.sparse.plans import Sparsity
from edgekd.train.losses.settings import LossSettings
from edgekd.train.settings import Training

Start = Literal["fresh", "teacher", "auto"]  # auto: from the teacher where the shapes allow it


class DistillFloat(Settings):
    losses: tuple[LossSettings, ...] = Field(min_length=1)
    train: Training
    preprocess: Preprocess
    views: Views
    start: Start = "fresh"
    data_share: float = Field(default=1.0, gt=0, le=1)  # of the training samples: Ben-Baruch et al. 2024, [137]
    calibrate: bool = False  # its confidence, on val, after training
    dual_head: float | None = Field(default=None, ge=0, le=1)  # share of the labels' head in the answer; None: one head
    sparsity: Sparsity | None = None


class RateProbe(Settings):
    """Peak rates of which the best on val is taken, each tried for a share of the epochs: one fits not all losses."""

    rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(0.05, 0.1, 0.2), min_length=2)
    share: float = Field(default=0.1, gt=0, le=1)


class ChooseRate(Settings):
    rates: tuple[float, ...] = Field(min_length=2)


class TryPrecisions(Settings):
    cpu: Cpu  # what is measured is this machine's
    preprocess: Preprocess
    batch: int
    steps: int = Field(default=20, ge=4)
    threads: int = Field(default_factory=cores, ge=1)


class ChoosePrecision(Settings):
    faster: float = Field(default=1.1, ge=1)  # times, at least
    worse: float = Field(default=0.02, ge=0)  # share of the loss, at most


class ChooseAssistant(Settings):
    candidates: tuple[NetShape, ...] = Field(min_length=1)
    margin_points: float = Field(default=1.0, ge=0)


class GiveStudent(Settings):
    """A student that no search chose."""

    shape: NetShape


class Judge(Settings):
    """A net's answers in torch: for choosing between recipes. What ships is judged in its runtime."""

    split: Split
    preprocess: Preprocess
    most: int | None = Field(default=None, ge=1)  # samples, the first ones; None: all
    shifted: bool = False  # noise, blur or less contrast: what a camera may add
    threads: int = Field(default_factory=cores, ge=1)


def of(plan: Any, preprocess: Preprocess, views: Views) -> DistillFloat:
    """The settings that a pipeline's `distill` means."""
    return DistillFloat(
        losses=plan.losses, train=plan.training, preprocess=preprocess.outside, views=views, start=plan.start,
        data_share=plan.data_share, dual_head=plan.dual_head, calibrate=plan.calibrate,
    )  # fmt: skip


GIVEN = Stage[GiveStudent]("distill.student", "edgekd.distill.given:run", gives="decision")
FLOAT = Stage[DistillFloat](
    "distill.float",
    "edgekd.distill.float_phase:run",
    takes={
        "data": "dataset",
        "teacher": "checkpoint",
        "student": "decision",
        "targets": "targets",
        "unlabelled": "pictures",
        "first": "checkpoint",
    },
    may_lack=(
        "targets",
        "teacher",
        "student",  # of a net of another family, which goes on from `first`
        "unlabelled",
        "first",
    ),  # targets stand for the teacher; cross-entropy needs neither
    gives="checkpoint",
    version=3,
    uses=("torch", "transformers"),
    cost=lambda settings: settings.train.epochs,
    memory="distill.batch",
    typical_s=4.0,
)
RATE = Stage[ChooseRate](
    "distill.rate", "edgekd.distill.rate:run", takes={"val.*": "predictions"}, gives="decision", nature="decision"
)
PRECISIONS = Stage[TryPrecisions](
    "distill.precisions",
    "edgekd.distill.precision:run",
    takes={"data": "dataset", "student": "decision"},
    gives="precisions",
    nature="observation",
    uses=("torch", "transformers"),
    typical_s=5.0,
)
PRECISION = Stage[ChoosePrecision](
    "distill.precision",
    "edgekd.distill.precision:run_choice",
    takes={"precisions": "precisions"},
    gives="decision",
    nature="decision",
)
ASSISTANT = Stage[ChooseAssistant](
    "distill.assistant",
    "edgekd.distill.assist:run",
    takes={"val.*": "predictions"},
    gives="decision",
    nature="decision",
)
JUDGE = Stage[Judge](
    "distill.judge",
    "edgekd.distill.judge:run",
    version=2,
    takes={"net": "checkpoint", "data": "dataset"},
    gives="predictions",
    uses=("torch", "transformers"),
)
