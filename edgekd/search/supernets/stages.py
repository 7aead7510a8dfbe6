"""Settings of the stages around a supernet; nothing heavy is imported here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edgekd.data.stages import Preprocess, Split, Views
from edgekd.engine.stage import Stage
from edgekd.models.shape import NetShape
from edgekd.resources import cores
from edgekd.settings import Settings
from edgekd.train.settings import Training


class Nested(Settings):
    """Sub-networks of a supernet: of each stage some first blocks, of their layers a share of the first channels."""

    depths: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 2, 3, 4), min_length=1)  # blocks of a stage
    width_shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(default=(0.25, 0.5, 0.75, 1.0), min_length=1)
    width_step: int = Field(default=8, ge=1)  # widths are rounded to its multiples


class TrainSupernet(Settings):
    shape: NetShape  # the largest net
    nested: Nested = Nested()
    train: Training
    preprocess: Preprocess
    views: Views
    rule: Literal["sandwich", "random"] = "sandwich"  # each step's nets: the largest, the smallest and others, or these
    others: int = Field(default=2, ge=1)  # nets a step that chance picks
    taught: float = Field(default=0.5, ge=0, le=1)  # share of what the teacher, or else the largest net, says
    temperature: float = Field(default=1.0, gt=0)
    shrink_from: float = Field(default=0.5, ge=0, lt=1)  # share of the steps that train the largest net alone
    raised_over: float = Field(default=0.1, ge=0, le=1)  # share of the steps in which the others come to count fully

    @model_validator(mode="after")
    def _is_trained_by_one_process(self) -> Self:
        if self.train.processes > 1:
            raise ValueError(f"train.processes: {self.train.processes}, one process trains a supernet; lower it")
        return self


class Statistics(Settings):
    """Batch norms anew: a sub-network's activations have other means than the supernet's."""

    batches: int = Field(default=16, ge=1)  # of training samples as they are, in an order drawn from the seed
    batch: int = Field(default=128, ge=2)
    seed: int = Field(default=0, ge=0)


class JudgeSubnets(Settings):
    """The smallest sub-network, the largest, and as many drawn ones as make `count` of them."""

    nested: Nested = Nested()
    count: int = Field(default=16, ge=2)
    preprocess: Preprocess
    split: Split = "val"
    statistics: Statistics = Statistics()
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default_factory=cores, ge=1)


class ScoreSubnets(Settings):
    """Sub-networks as candidates of a search: `held-out` is the loss on the split they were judged on, negated."""

    teacher: NetShape | None  # whose size bounds are held against; None where it is no net of edgekd's


class Extract(Settings):
    shape: NetShape
    preprocess: Preprocess
    statistics: Statistics = Statistics()
    threads: int = Field(default_factory=cores, ge=1)


SUPERNET = Stage[TrainSupernet](
    "search.supernet",
    "edgekd.search.supernets.train:run",
    takes={"data": "dataset", "teacher": "checkpoint", "targets": "targets"},
    may_lack=("teacher", "targets"),  # without either, the largest net teaches the others
    gives="checkpoint",
    uses=("torch", "transformers"),
    cost=lambda settings: settings.train.epochs * (settings.others + 2),
    memory="train.batch",
    typical_s=4.0,
)
SUBNETS = Stage[JudgeSubnets](
    "search.subnets",
    "edgekd.search.supernets.subnets:run_judge",
    takes={"supernet": "checkpoint", "data": "dataset"},
    gives="subnets",
    uses=("torch", "transformers"),
    cost=lambda settings: settings.count,
)
SCORES = Stage[ScoreSubnets](
    "search.subnets.scores",
    "edgekd.search.supernets.subnets:run_scores",
    takes={"subnets": "subnets", "data": "dataset", "teacher": "checkpoint"},
    may_lack=("teacher",),  # where its shape says its size
    gives="scores",
    uses=("torch", "transformers"),
)
EXTRACT = Stage[Extract](
    "search.extract",
    "edgekd.search.supernets.subnets:run_extract",
    takes={"supernet": "checkpoint", "data": "dataset"},
    gives="checkpoint",
    uses=("torch", "transformers"),
)
