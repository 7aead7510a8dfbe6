"""Which way of distilling pays on a person's own data: recipes x learning rates x seeds, beside their controls."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated, Literal

from pydantic import Field

from edgekd.data.stages import Split
from edgekd.distill import stages as distill
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError, DivergedError
from edgekd.keeping import kept_targets
from edgekd.models.shape import NetShape, outputs_of
from edgekd.pipeline import Pipeline
from edgekd.probing import precision_of
from edgekd.settings import Settings
from edgekd.sources import dataset_of, taught_by, teacher_of
from edgekd.teacher import stages as teacher
from edgekd.teacher.stages import KeptViews
from edgekd.train.losses.recipes import RECIPES, RecipeName
from edgekd.train.losses.settings import asked_of

CE, KD, RANDOM = "cross-entropy", "kd", "random-teacher"
CONTROLS = (CE, KD, RANDOM)
METHODS: tuple[RecipeName, ...] = tuple(name for name in RECIPES if name not in CONTROLS)


class BakeOff(Settings):
    """
    First every recipe at every rate, briefly; then the `keep` best and the controls, each at its best rate, longer
    and with more seeds. Rates and recipes are chosen on val; the second round is judged on test.
    """

    student: NetShape
    recipes: tuple[RecipeName, ...] = METHODS
    rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(0.05, 0.1, 0.2), min_length=1)
    epochs: int = Field(default=10, ge=1)
    seeds: int = Field(default=1, ge=1)
    keep: int = Field(default=3, ge=0)
    final_student: NetShape | None = None  # of the second round, where it is another; the first one's rates hold for it
    final_epochs: int = Field(default=30, ge=1)
    final_seeds: int = Field(default=5, ge=2)  # an interval needs two at least
    kept: KeptViews = KeptViews(views=8)


@dataclass(frozen=True)
class Run:
    """One student: how it was trained, and what it answers; None where its loss became no number."""

    arm: str
    rate: float
    seed: int
    epochs: int
    answers: Result | None

    @property
    def right(self) -> int:
        if self.answers is None:
            return 0
        assert isinstance(self.answers, Artifact)
        return int(self.answers.json("metrics.json")["right"])


@dataclass
class Baked:
    """`final` is empty until every run of the first round is there; `left` counts the runs that time forbade."""

    grid: list[Run] = field(default_factory=list)
    final: list[Run] = field(default_factory=list)
    best_rates: dict[str, float] = field(default_factory=dict)
    finalists: tuple[str, ...] = ()
    left: int = 0
    start: str = "fresh"
    data: Result | None = None
    teacher: Result | None = None  # its answers on test


class Pace:
    """Until when there is time, and what an epoch took so far: no run begins that would end later."""

    def __init__(self, ends: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.ends, self.clock, self.epoch_s = ends, clock, 0.0

    def allows(self, epochs: int) -> bool:
        return self.clock() + self.epoch_s * epochs < self.ends

    @contextmanager
    def run(self, epochs: int) -> Iterator[None]:
        """The slowest counts: what was there already takes no time at all."""
        begun = self.clock()
        yield
        self.epoch_s = max(self.epoch_s, (self.clock() - begun) / epochs)


def bake_off(engine: Engine, pipeline: Pipeline, asked: BakeOff, ends: float = math.inf) -> Baked:
    """
    Run what is not there yet, as far as time allows: until `ends` of `time.perf_counter`. Every run is kept, so that
    the same call goes on.
    """
    kitchen = _Kitchen(engine, pipeline, asked)
    arms = (*CONTROLS, *(name for name in asked.recipes if name not in CONTROLS))
    baked = Baked(
        start=kitchen.start,
        data=kitchen.data,
        teacher=kitchen.judged(kitchen.teacher, "test", Coordinates(student="teacher")),
    )
    pace = Pace(ends)
    first = [(arm, rate, seed) for arm in arms for rate in asked.rates for seed in range(asked.seeds)]
    for done, (arm, rate, seed) in enumerate(first):
        if not pace.allows(asked.epochs):
            baked.left = len(first) - done + len(_finalists(baked, asked, arms)) * asked.final_seeds
            return baked
        with pace.run(asked.epochs):
            baked.grid.append(kitchen.run(arm, rate, seed, asked.epochs, "val"))
    baked.best_rates = {arm: best_rate([run for run in baked.grid if run.arm == arm]) for arm in arms}
    baked.finalists = _finalists(baked, asked, arms)
    pace = pace if asked.final_student in (None, asked.student) else Pace(ends)
    second = [(arm, seed) for seed in range(asked.final_seeds) for arm in baked.finalists]
    for done, (arm, seed) in enumerate(second):
        if not pace.allows(asked.final_epochs):
            baked.left = len(second) - done
            return baked
        with pace.run(asked.final_epochs):
            baked.final.append(kitchen.run(arm, baked.best_rates[arm], seed, asked.final_epochs, "test"))
    return baked


def best_rate(runs: Sequence[Run]) -> float:
    """Where the mean over seeds is best on val; the lower of two equals."""
    rates = sorted({run.rate for run in runs})
    return max(rates, key=lambda rate: fmean(run.right for run in runs if run.rate == rate))


def _finalists(baked: Baked, asked: BakeOff, arms: Sequence[str]) -> tuple[str, ...]:
    """The controls, and the best of the others at their best rates."""
    if not baked.best_rates:
        return (*CONTROLS, *(arm for arm in arms if arm not in CONTROLS))[: len(CONTROLS) + asked.keep]

    def value(arm: str) -> float:
        return fmean(run.right for run in baked.grid if run.arm == arm and run.rate == baked.best_rates[arm])

    others = sorted((arm for arm in arms if arm not in CONTROLS), key=value, reverse=True)
    return (*CONTROLS, *others[: asked.keep])


class _Kitchen:
    """What all runs share: data, teacher, its targets and the random teacher's."""

    def __init__(self, engine: Engine, pipeline: Pipeline, asked: BakeOff) -> None:
        if pipeline.views.mixup or pipeline.views.cutmix:
            raise ConfigError(
                "bakeoff: all recipes see the same kept views, and mixed ones belong to a batch and to no sample; "
                "leave views.mixup and views.cutmix out"
            )
        if pipeline.distill.unlabelled:
            raise ConfigError("bakeoff: recipes are compared on labelled images; leave distill.unlabelled out")
        if pipeline.sparsity:
            raise ConfigError("bakeoff: recipes are compared on dense students; leave sparsity out")
        if pipeline.distill.dual_head is not None:
            raise ConfigError(
                "bakeoff: recipes without labels, or without a teacher, leave one of two heads untaught; leave "
                "distill.dual_head out"
            )
        for student in {asked.student, asked.final_student or asked.student}:
            check_outputs(student, asked.recipes)
        self.call, self.pipeline, self.asked = engine.call, pipeline, asked
        self.data = dataset_of(engine, pipeline)
        self.teacher, given = teacher_of(engine, pipeline, self.data)
        nobody = self.call(teacher.RANDOM, teacher.RandomTeacher(), {"teacher": self.teacher})
        tutor = taught_by(engine, pipeline, self.data, self.teacher)
        self.targets = {
            name: kept_targets(engine, pipeline, self.data, master, of, asked.kept)
            for name, master, of in ((KD, tutor, given), (RANDOM, nobody, None))
        }
        self.start = start_of(pipeline)
        shapes = {"val": asked.student, "test": asked.final_student or asked.student}  # of the first, the second round
        self.students = {
            split: self.call(distill.GIVEN, distill.GiveStudent(shape=shape), {}) for split, shape in shapes.items()
        }
        self.precision = {
            split: precision_of(engine, pipeline, {"data": self.data, "student": student}, Coordinates(student=split))
            for split, student in self.students.items()
        }

    def run(self, arm: str, rate: float, seed: int, epochs: int, split: Split) -> Run:
        plan = self.pipeline.distill
        train = plan.training.model_copy(
            update={"learning_rate": rate, "seed": seed, "epochs": epochs, "precision": self.precision[split]}
        )
        recipe = RECIPES[KD if arm == RANDOM else arm]  # type: ignore[index]
        settings = distill.of(plan, self.pipeline.preprocess, self.pipeline.views).model_copy(
            update={"losses": recipe, "train": train, "start": self.start}
        )
        targets = self.targets[RANDOM if arm == RANDOM else KD]
        at = Coordinates(student=f"{arm}, rate {rate:g}, seed {seed}, {epochs} epochs")
        inputs = {"data": self.data, "student": self.students[split], "targets": targets}
        if self.start == "teacher":
            inputs["teacher"] = self.teacher
        try:
            net = self.call(distill.FLOAT, settings, inputs, at)
        except DivergedError:
            return Run(arm, rate, seed, epochs, None)
        return Run(arm, rate, seed, epochs, self.judged(net, split, at))

    def judged(self, net: Result, split: Split, at: Coordinates) -> Result:
        settings = distill.Judge(
            split=split, preprocess=self.pipeline.preprocess.outside, threads=self.pipeline.distill.threads
        )
        return self.call(distill.JUDGE, settings, {"net": net, "data": self.data}, at)


def start_of(pipeline: Pipeline) -> Literal["fresh", "teacher"]:
    """
    Losses are compared on fresh weights, unless the teacher's blocks are asked for: then every arm has them, the one of
    the random teacher too, whose gain is then of what stays the same.
    """
    return "teacher" if pipeline.distill.start == "teacher" else "fresh"


def fitting(student: NetShape, recipes: Sequence[RecipeName] = METHODS) -> tuple[RecipeName, ...]:
    """The recipes whose losses name outputs that such a student has."""
    there = outputs_of(student)
    return tuple(name for name in recipes if set(asked_of(RECIPES[name])[0]) <= there)


def check_outputs(student: NetShape, recipes: Sequence[RecipeName]) -> None:
    """Raises ConfigError."""
    if lacking := [name for name in recipes if name not in fitting(student, recipes)]:
        (output, *_), _ = asked_of(RECIPES[lacking[0]])
        raise ConfigError(
            f"bakeoff: {lacking[0]} teaches the student's {output!r}, and this student of {len(student.widths)} blocks "
            "has no such output; leave the recipe out, or take a student of more stages"
        )


def by_arm(runs: Sequence[Run]) -> dict[str, list[Run]]:
    return {arm: [run for run in runs if run.arm == arm] for arm in dict.fromkeys(run.arm for run in runs)}
