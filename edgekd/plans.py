"""The parts of a pipeline, as settings: teacher, search, distillation, quantisation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgekd.data.stages import Unlabelled, Views
from edgekd.distill.stages import RateProbe, Start
from edgekd.models.shape import NetShape
from edgekd.prune.stages import Judged
from edgekd.search.spaces import AnySpace, ResidualCnnSpace
from edgekd.search.stages import ScoreName, TableFile
from edgekd.search.studies.plans import StudyPlan
from edgekd.search.supernets.stages import Nested
from edgekd.settings import Settings
from edgekd.teacher.stages import KeptViews, TeacherTraining
from edgekd.train.losses.settings import CrossEntropyLoss, KdLoss, LossSettings
from edgekd.train.settings import Training

DEFAULT_TEACHER = NetShape(
    stem_width=24, stem_stride=2, widths=((48, 48), (48, 48), (96, 96), (96, 96)), strides=(1, 1, 2, 1)
)


class PoolMember(Settings):
    """A further teacher, given as the first one may be; `share` is its part in their mean, where the first has 1."""

    from_: str = Field(alias="from")
    weights: str | None = None
    function: str = "model"
    labels: tuple[str, ...] = ()
    revision: str | None = None
    share: float = Field(default=1.0, gt=0)


class TeacherPlan(Settings):
    """
    Either trained here, by `train`, or taken `from` elsewhere: a folder of transformers or its name on the hub, an
    ONNX file (logits alone), or a .py whose `function` makes a torch module, filled with `weights`.
    """

    shape: NetShape = DEFAULT_TEACHER  # of one that is trained here
    train: TeacherTraining | None = None
    from_: str | None = Field(default=None, alias="from")
    weights: str | None = None
    function: str = "model"
    labels: tuple[str, ...] = ()  # its classes, in the order of its answers, where it does not say so itself
    revision: str | None = None  # of a hub name
    trust: bool = False  # go on where it answers badly
    pool: tuple[PoolMember, ...] = ()  # more teachers: students learn from the mean of all

    @model_validator(mode="after")
    def _one_way(self) -> TeacherPlan:
        if (self.from_ is None) == (self.train is None):
            raise ValueError("give either `from` or `train`")
        return self


class PrunePlan(Settings):
    """
    The student is what is left of the teacher once units are gone that lose least for the time they take, in place of
    one that is searched for: as fast as `latency_ratio` of the teacher's own int8 file, by measurement.
    """

    latency_ratio: float = Field(gt=0, lt=1)
    parameters_ratio: float = Field(default=1.0, gt=0, le=1)  # the share of them that may be left
    stages: bool = False  # what whole stages hand on is cut too
    step: int = Field(default=8, ge=1)  # units between two widths that are tried
    judged: Judged = "answers"
    rounds: int = Field(default=1, ge=1)  # of cutting and teaching, each an equal share of the way


class RacePlan(Settings):
    """
    Short distillations of the best candidates by score: `students` of them for a share of the epochs, then a `factor`
    fewer for as many times longer. A score says which nets are large; only training says which of them learn.
    """

    students: int = Field(default=12, ge=0)  # 0: the best by score is taken
    share: float = Field(default=0.05, gt=0, lt=1)  # of the epochs
    factor: float = Field(default=3.0, gt=1)
    rounds: int = Field(default=2, ge=1)


class SupernetPlan(Settings):
    """One training of which every candidate is a part; the student that is chosen goes on from its part."""

    shape: NetShape | None = None  # of the largest; None: the teacher's, where it is a net of edgekd's
    nested: Nested = Nested()
    epochs: int = Field(default=20, ge=1)
    rule: Literal["sandwich", "random"] = "sandwich"
    shrink_from: float = Field(default=0.5, ge=0, lt=1)
    count: int = Field(default=64, ge=2)  # sub-networks that are judged on val


class SearchPlan(Settings):
    space: AnySpace = ResidualCnnSpace()
    rank: tuple[ScoreName, ...] = Field(default=("params", "macs"), min_length=1)  # benchmarks/search_cifar.py: best
    candidates: int = Field(default=200, ge=1)
    inits: int = Field(default=1, ge=1)  # initialisations of each; of several the report says what they alone change
    measure: int = Field(default=16, ge=1)  # of the best, exported with random weights
    headroom: float = Field(default=1.25, ge=1)  # how much more than the budget's speed and size it asks for
    race: RacePlan = RacePlan()
    study: StudyPlan | None = None  # the space is gone through under measured latency; else a sample is scored
    tables: dict[str, TableFile] = {}  # of targets whose latencies a study predicts: a path each
    supernet: SupernetPlan | None = None  # its sub-networks are the candidates, instead of the space's
    seed: int = Field(default=0, ge=0)


class TargetsPlan(KeptViews):
    """
    `auto` keeps what the teacher says of a fixed number of views where that spares it more than a fifth of its work:
    where there are more epochs than views. Mixed views and losses on features need the teacher itself.
    """

    keep: Literal["auto", "always", "never"] = "auto"


class DistillPlan(Training):
    # auto: bfloat16 where the CPU has units for it and a trial is faster with them and learns no worse
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # type: ignore[assignment]
    start: Start = "auto"
    data_share: float = Field(default=1.0, gt=0, le=1)
    dual_head: float | None = Field(default=None, ge=0, le=1)  # a head for labels and one for the teacher: its share
    calibrate: bool = False  # the student's confidence, on val, after training: no answer changes
    unlabelled: Unlabelled | None = None  # pictures that the teacher alone speaks of: SSLD, [112]
    targets: TargetsPlan = TargetsPlan()
    assistant: Literal["none", "auto"] = "none"  # between a teacher and a student of less than a tenth of it
    probe: RateProbe | None = None  # else learning_rate is taken as it stands
    losses: tuple[LossSettings, ...] = Field(
        default=(KdLoss(name="kd"), CrossEntropyLoss(name="cross-entropy")), min_length=1
    )

    def chooses(self, views: Views) -> bool:
        """Whether it is the cost that decides if the teacher's answers are kept."""
        return self.targets.keep == "auto" and self._may_keep(views)

    def _may_keep(self, views: Views) -> bool:
        asked = any(loss.needs for loss in self.losses)
        return asked and not (self.deep or views.mixup or views.cutmix or self.unlabelled)

    def kept(self, views: Views) -> KeptViews | None:
        """Which views' targets are kept; None: the teacher answers along."""
        plan = self.targets
        if plan.keep == "never" or not self._may_keep(views):
            return None
        if plan.keep == "auto" and 5 * plan.views >= 4 * self.epochs:
            return None
        return KeptViews(views=plan.views, top=plan.top, seed=plan.seed)

    @model_validator(mode="after")
    def _remembers_in_one_process(self) -> DistillPlan:
        own = [loss.name for loss in self.losses if loss.name in ("taid", "ckd")]
        if own and self.processes > 1:
            raise ValueError(f"processes: {own[0]} remembers what it saw, in one process; leave processes out")
        if self.unlabelled and self.processes > 1:
            raise ValueError(
                "processes: with unlabelled pictures labels of a batch would count unequally; leave one out"
            )
        return self

    @model_validator(mode="after")
    def _teaches_both_heads(self) -> DistillPlan:
        if self.dual_head is None:
            return self
        taught = any("logits" in loss.needs for loss in self.losses)
        if not taught or all(loss.needs for loss in self.losses):
            raise ValueError(
                "dual_head: one head learns from labels and one from the teacher's logits; give a loss for each "
                "(cross-entropy and kd), or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _names_no_layers_of_an_assistant(self) -> DistillPlan:
        if self.assistant == "auto" and (self.deep or self.start == "teacher"):
            what = self.deep or f"start: {self.start}"
            raise ValueError(
                f"assistant: auto: {what} is of the teacher's own layers, and an assistant has others; leave one of "
                "the two out"
            )
        return self

    @property
    def deep(self) -> str | None:
        """A loss that needs the teacher's layers."""
        return next((loss.name for loss in self.losses if "module" in loss.needs), None)

    @property
    def training(self) -> Training:
        """What the loop is told; a precision that is to be measured is float32 until then."""
        told = {name: getattr(self, name) for name in Training.model_fields}
        return Training(**told | ({"precision": "float32"} if self.precision == "auto" else {}))


class QuantizePlan(Settings):
    first: Literal["ptq"] = "ptq"
    then: Literal["qat", "none"] = "qat"  # what happens when PTQ misses the margin
    margin_points: float = 0.5  # of accuracy on val, against the fp32 student
    calibration_images: int = Field(default=512, ge=1)
    qat: Training = Training(epochs=4, learning_rate=0.01, warmup=0.0)

    @model_validator(mode="after")
    def _trains_as_qat_can(self) -> QuantizePlan:
        if self.qat.patience or self.qat.average_from < 1:
            raise ValueError("qat: patience and average_from are of the float phase; leave them out")
        if self.qat.processes > 1:
            raise ValueError("qat: processes: ranges are observed in one process; leave it out")
        return self
