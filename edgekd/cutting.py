"""From a net to a smaller one for one target: what units are worth and cost, the choice, the cut, the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgekd.distill import stages as distill
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError
from edgekd.models.shape import FOREIGN, NetShape, shape_of
from edgekd.pipeline import Pipeline
from edgekd.plans import PrunePlan
from edgekd.probing import float_settings
from edgekd.prune import stages as prune
from edgekd.search.stages import QUICKLY
from edgekd.target import Target


@dataclass(frozen=True)
class Cutter:
    """Cuts and teaches; what is not there yet is pending, of a build that is only planned."""

    target: Target
    net: Result  # the whole one, which teaches
    start: Result  # the one that is cut: what an earlier round left, or the whole one
    lesson: Mapping[str, Result]
    plan: PrunePlan

    @classmethod
    def of(cls, target: Target, net: Result, lesson: Mapping[str, Result], plan: PrunePlan) -> Cutter:
        """Raises ConfigError for what this cannot be done with, before anything is trained."""
        cutter = cls(target, net, net, lesson, plan)
        if cutter.foreign:
            check_foreign(target.pipeline, plan)
        return cutter

    def taught_by(self, targets: Result | None) -> Cutter:
        """With answers of the whole net that were kept, where there are any."""
        return self if targets is None else replace(self, lesson={**self.lesson, "targets": targets})

    @property
    def foreign(self) -> bool:
        """Whether the net is of another family, whose channels are found by following it (torch-pruning)."""
        return isinstance(self.start, Artifact) and self.start.file(FOREIGN).is_file()

    @property
    def engine(self) -> Engine:
        return self.target.engine

    @property
    def pipeline(self) -> Pipeline:
        return self.target.pipeline

    @property
    def data(self) -> Result:
        return self.lesson["data"]

    def cuts(self, name: str, ratio: float, by: prune.By = "latency", seed: int = 0) -> tuple[Result, ...]:
        """
        Of each round what it left, the last one untrained: all take as large a share of the latency, and what one left
        is taught before the next one looks at it anew (Muralidharan et al., "Compact language models via pruning and
        knowledge distillation", 2024, [100], section 3).
        """
        run, rounds, found = self, self.plan.rounds, list[Result]()
        for number in range(1, rounds + 1):
            here = name if number == rounds else f"{name}, round {number}"
            found.append(run.cut(here, ratio ** (1 / rounds), by))
            if number < rounds:
                run = replace(run, start=run.trained(here, found[-1], seed))
        return tuple(found)

    def cut(self, name: str, ratio: float, by: prune.By) -> Result:
        if self.foreign:
            return self._cut_groups(name, ratio, weighed(by))
        at = self.target.at(student=name)
        net, ladder, staircase = self.start, self.ladder(), self.staircase()
        worth = {"net": net, "ladder": ladder, "staircase": staircase}
        path = self.path(worth | {"data": self.data}, by)
        settings = prune.Choose(ratio=ratio, parameters=self.left, by=by)
        choice = self.engine.call(prune.CHOOSE, settings, worth | {"path": path}, at)
        cut = prune.Cut(by=by, preprocess=self.pipeline.preprocess.outside)
        return self.engine.call(prune.CUT, cut, {"net": net, "data": self.data, "ladder": ladder, "choice": choice}, at)

    def _cut_groups(self, name: str, ratio: float, by: prune.Weighed) -> Result:
        target, at, net = self.target, self.target.at(student=name), {"net": self.start, "data": self.data}
        settings = prune.Shares(
            by=by, step=self.plan.step, preprocess=self.pipeline.preprocess, runtime=target.measured_in,
            cpu=target.cpu, there=target.there, measuring=QUICKLY,
        )  # fmt: skip
        shares = self.engine.call(target.versioned(prune.SHARES), settings, net, target.at(by))
        choose = prune.ChooseShare(ratio=ratio, parameters=self.left, by=by)
        choice = self.engine.call(prune.CHOOSE_SHARE, choose, {"shares": shares}, at)
        cut = prune.CutGroups(by=by, step=self.plan.step, preprocess=self.pipeline.preprocess.outside)
        return self.engine.call(prune.CUT_GROUPS, cut, net | {"choice": choice}, at)

    @property
    def left(self) -> float:
        """The share of parameters that one round may leave."""
        return float(self.plan.parameters_ratio ** (1 / self.plan.rounds))

    def trained(self, name: str, cut: Result, seed: int = 0) -> Result:
        at = self.target.at(student=name)
        lesson = {**self.lesson, "first": cut}
        if not self.foreign:
            given = distill.GiveStudent(shape=shape_of(cut.json("shape.json"))) if isinstance(cut, Artifact) else None
            lesson["student"] = self.engine.call(distill.GIVEN, given, {}, at)
        plan = float_settings(self.engine, self.pipeline, lesson, at)
        if plan is not None:
            plan = plan.model_copy(update={"train": plan.train.model_copy(update={"seed": plan.train.seed + seed})})
        return self.engine.call(distill.FLOAT, plan, lesson, at)

    def ladder(self) -> Result:
        settings = prune.Climb(
            step=self.plan.step, streams=self.plan.stages, judged=self.plan.judged,
            preprocess=self.pipeline.preprocess.outside,
        )  # fmt: skip
        return self.engine.call(prune.LADDER, settings, {"net": self.start, "data": self.data})

    def staircase(self) -> Result:
        target, shape = self.target, self.shape
        settings = None
        if shape is not None:
            settings = prune.Staircase(
                shape=shape, step=self.plan.step, streams=self.plan.stages, preprocess=self.pipeline.preprocess,
                runtime=target.measured_in, cpu=target.cpu, there=target.there, measuring=QUICKLY,
            )  # fmt: skip
        return self.engine.call(target.versioned(prune.STAIRCASE), settings, {"data": self.data}, target.at())

    def path(self, worth: Mapping[str, Result], by: prune.By) -> Result:
        target = self.target
        settings = prune.Walk(
            by=by, parameters=self.left, step=self.plan.step, preprocess=self.pipeline.preprocess,
            runtime=target.measured_in, cpu=target.cpu, there=target.there, measuring=QUICKLY,
        )  # fmt: skip
        return self.engine.call(target.versioned(prune.PATH), settings, worth, target.at(by))

    @property
    def shape(self) -> NetShape | None:
        """Of the net that is cut, where it is one of edgekd's own that is there."""
        if not isinstance(self.start, Artifact):
            return None
        if self.foreign:
            return None
        tree = self.start.json("config.json")
        return shape_of({name: tree[name] for name in NetShape.model_fields if name in tree})


def check_foreign(pipeline: Pipeline, plan: PrunePlan) -> None:
    """Raises ConfigError for what is of edgekd's own family alone."""
    deep = pipeline.distill.deep
    for what, there_is in (
        ("sparsity", pipeline.sparsity), (f"distill.losses: {deep}", deep),
        ("distill.calibrate", pipeline.distill.calibrate), ("distill.processes", pipeline.distill.processes > 1),
        ("--stages", plan.stages), ("--judged", plan.judged != "answers"),
    ):  # fmt: skip
        if there_is:
            raise ConfigError(f"prune: {what}: is for nets of edgekd's own family so far; leave it out")


def weighed(by: prune.By) -> prune.Weighed:
    """How groups of a net of another family are chosen. Raises ConfigError for what only a ladder of blocks can say."""
    if by == "width" or by == "depth":
        raise ConfigError(f"prune: --by {by}: is for nets of edgekd's own family so far; leave it out")
    return "taylor" if by == "latency" else by


def asked_of_zeros(target: Target, shape: NetShape | None, dataset: Result) -> dict[str, Result]:
    """Where zeros are wanted: what they gain on this device, before anything is trained for them; said at once."""
    plan = target.pipeline.sparsity
    if plan is None:
        return {}
    settings = None
    if shape is not None:
        settings = prune.AskZeros(
            shape=shape, plan=plan, preprocess=target.pipeline.preprocess, profile=target.profile, where=target.where
        )
    stage = replace(prune.ASK_ZEROS, uses=(*prune.ASK_ZEROS.uses, *(p for s in target.runtimes for p in s.packages)))
    return {"zeros": target.engine.call(stage, settings, {"data": dataset}, target.at())}
