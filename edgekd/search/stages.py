"""Settings of the search stages; nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from edgekd.budget import Budget
from edgekd.data.stages import Preprocess
from edgekd.engine.digest import digest_named
from edgekd.engine.stage import Stage
from edgekd.errors import ConfigError
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.profile import Limits, Measuring
from edgekd.hardware.specs import Runnable, RuntimeSpec
from edgekd.hardware.stages import There
from edgekd.models.shape import NetShape
from edgekd.resources import cores
from edgekd.search.spaces import AnySpace
from edgekd.search.studies.plans import StudyPlan
from edgekd.settings import Settings

ScoreName = Literal[
    "params", "macs", "synflow", "snip", "grad-norm", "zico", "nwot", "zen", "diswot", "diswot-semantic",
    "diswot-relation", "teacher-cka",
]  # fmt: skip
RankName = ScoreName | Literal["held-out"]  # of a supernet's sub-networks, on val
# of the teacher: DisWOT builds it anew with random weights, and its trained features are one of edgekd's own nets'
NEEDS = {name: frozenset({"shape"}) for name in ("diswot", "diswot-semantic", "diswot-relation", "teacher-cka")}
# of a screening: a candidate that is off by a few per cent is measured again before it ships
QUICKLY = Measuring(processes=3, openings=2, rounds=50, time_s=20.0, warmup_runs=5)
ALWAYS: tuple[ScoreName, ...] = ("params", "macs", "synflow", "snip", "diswot", "diswot-semantic", "diswot-relation")


class Score(Settings):
    space: AnySpace
    candidates: int = Field(ge=1)
    teacher: NetShape | None  # with fresh weights, as DisWOT has it; None where it is no net of edgekd's
    preprocess: Preprocess
    images: int = Field(default=64, ge=2)  # of the batch that DisWOT looks at
    scores: tuple[ScoreName, ...] = ALWAYS
    inits: int = Field(default=1, ge=1)  # of each candidate; of more than one the mean, and the deviation as `noise`
    seed: int = 0
    threads: int = Field(default_factory=cores, ge=1)


class TableFile(Settings):
    """What `edgekd devices calibrate --out` left."""

    path: str
    digest: str | None = None

    def pinned(self) -> TableFile:
        found = digest_named(self.path, "search.tables", "; edgekd devices calibrate --out writes one")
        return self.model_copy(update={"digest": found})

    def checked(self) -> Path:
        """The file, as long as it is the one that the pipeline was read with."""
        if self.pinned().digest != self.digest:
            raise ConfigError(f"search.tables: {self.path}: changed since the pipeline was read; run it again")
        return Path(self.path)


class Device(Settings):
    """A target as a study measures it, or has a compiler estimate it."""

    name: str
    runtime: RuntimeSpec
    cpu: Cpu
    limits: Limits = Limits()
    table: TableFile | None = None  # latencies are predicted from it
    there: There | None = None  # where it is measured, over ssh; None: here


class Explore(Settings):
    """
    A study of the space in `score`, whose first score is maximised, under each device's measured latency and the size.

    A shape that cannot keep the budget or a device's limits is not measured. With several devices a shape is kept
    that keeps the limits on latency of one of them.
    """

    score: Score  # its `candidates` are a sample's, and mean nothing here
    plan: StudyPlan
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    devices: tuple[Device, ...] = Field(min_length=1)
    budget: Budget
    preprocess: Preprocess
    measuring: Measuring = Measuring(processes=2, openings=2, rounds=50, time_s=10.0, warmup_runs=5)


class WriteCandidate(Settings):
    """A candidate with random weights, as int8 in a runtime's dialect: enough to be measured."""

    shape: NetShape
    runtime: Runnable
    cpu: Cpu  # whose flags settle the dialect
    preprocess: Preprocess


class Shortlist(Settings):
    rank: tuple[RankName, ...] = Field(min_length=1)
    measure: int = Field(ge=1)
    budget: Budget
    headroom: float = Field(ge=1)
    limits: Limits = Limits()
    target: str | None = None  # of a study: what missed this target's limits on latency is left out


class Feasible(Settings):
    budget: Budget
    headroom: float = Field(ge=1)  # what is feasible with it comes before what only just meets the budget


class Round(Settings):
    """Of candidates that were distilled for a short while, those that go on."""

    epochs: int = Field(ge=1)
    keep: int = Field(ge=1)


class Choose(Settings):
    """The first of what is left."""


SCORE = Stage[Score](
    "search.score",
    "edgekd.search.score:run",
    takes={"data": "dataset", "teacher": "checkpoint"},
    may_lack=("teacher",),  # where its shape says it all
    gives="scores",
    version=5,
    uses=("torch", "transformers", "numpy"),
    cost=lambda settings: settings.candidates,
    typical_s=0.2,
)
EXPLORE = Stage[Explore](
    "search.study",
    "edgekd.search.explored:run",
    takes={"data": "dataset", "teacher": "checkpoint", "model.*": "exported"},
    may_lack=("teacher",),
    gives="scores",
    nature="observation",
    version=2,
    uses=("torch", "transformers", "numpy", "optuna", "onnx", "scikit-learn"),
    cost=lambda settings: settings.plan.trials,
    typical_s=0.5,
)
CANDIDATE = Stage[WriteCandidate](
    "search.candidate",
    "edgekd.search.latency:run_candidate",
    takes={"data": "dataset"},
    gives="exported",
    version=2,
    uses=("onnx",),
    typical_s=0.05,
)
SHORTLIST = Stage[Shortlist](
    "search.shortlist",
    "edgekd.search.choose:run_shortlist",
    takes={"scores": "scores"},
    gives="candidates",
    nature="decision",
    version=3,
)
FEASIBLE = Stage[Feasible](
    "search.feasible",
    "edgekd.search.choose:run_feasible",
    takes={"shortlist": "candidates", "comparison": "comparison"},
    gives="candidates",
    nature="decision",
    version=2,
)
ROUND = Stage[Round](
    "search.round",
    "edgekd.search.choose:run_round",
    takes={"candidates": "candidates", "val.*": "predictions"},
    gives="candidates",
    nature="decision",
    version=2,
)
CHOOSE = Stage[Choose](
    "search.choose",
    "edgekd.search.choose:run_choose",
    takes={"candidates": "candidates"},
    gives="decision",
    nature="decision",
    version=2,
)
