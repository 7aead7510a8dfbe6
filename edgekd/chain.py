"""The chain, as plain Python over memoised stages: data, teacher, search, training, int8, export, measure, select."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from edgekd.advice import advice
from edgekd.assistant import assistant_of
from edgekd.budget import TEACHER, TEACHER_INT8, check_decidable
from edgekd.data import stages as data
from edgekd.deploy import exporter
from edgekd.deploy import stages as deploy
from edgekd.distill import stages as distill
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError, UnsupportedError
from edgekd.hardware import stages as hardware
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.here import by_dialect, installed, takes_floats
from edgekd.hardware.profile import DeviceProfile, this_cpu
from edgekd.hardware.specs import Runnable
from edgekd.keeping import targets_of
from edgekd.models.shape import NetShape
from edgekd.pipeline import Pipeline
from edgekd.probing import float_settings
from edgekd.quant import stages as quant
from edgekd.racing import race
from edgekd.report import stages as report
from edgekd.search import stages as search
from edgekd.search.spaces import for_teacher
from edgekd.teacher import stages as teacher
from edgekd.teacher.given import inspect
from edgekd.teacher.stages import WORDS, Given

T = TypeVar("T")


@dataclass(frozen=True)
class Chain:
    data: Result
    models: Mapping[str, Result]  # exported, by variant
    report: Result


def chain(
    engine: Engine, pipeline: Pipeline, profile: DeviceProfile, differences: Sequence[str] | None = None
) -> Chain:
    """
    One target's build; the same code plans it, with an engine that answers `Pending` for what is not there.

    `differences` are those that a replay of a lock has found by the time the report is written.
    """
    device = this_cpu(profile)  # first: a device elsewhere is a clearer answer than a runtime that is not here
    runtimes = installed(profile)
    target = _Target(engine, pipeline, profile, runtimes[0], device, runtimes)
    call, here = engine.call, Coordinates(target=profile.name)
    dataset = dataset_of(engine, pipeline)
    if isinstance(dataset, Artifact):
        check_decidable(pipeline.budget, dataset.json("dataset.json")["splits"]["test"])
    master, given = teacher_of(engine, pipeline, dataset)
    tutor = taught_by(engine, pipeline, dataset, master)
    models = target.teachers(master, given, dataset)
    lesson = {"data": dataset, "teacher": tutor} | unlabelled_of(engine, pipeline, dataset)
    kept = targets_of(engine, pipeline, dataset, tutor, given)
    lesson |= {"targets": kept} if kept else {}
    found = target.search(dataset, models, master, given, lesson)
    shape = given.shape if given else pipeline.teacher.shape
    between = assistant_of(engine, pipeline, shape, found["choice"], {"data": dataset, "teacher": tutor})
    if between:
        tutor = between
        kept = targets_of(engine, pipeline, dataset, tutor, None)
        lesson |= {"teacher": tutor} | ({"targets": kept} if kept else {})
    lesson |= {"student": found["choice"]}
    student = call(distill.FLOAT, float_settings(engine, pipeline, lesson, here), lesson, here)
    variants = target.floats(student, dataset)
    val = {name: target.evaluate(model, dataset, "val", name) for name, model in (models | variants).items()}
    precisions = [
        target.int8(student, tutor, dataset, dialect, members, variants, val)
        for dialect, members in by_dialect(runtimes, device).items()
    ]
    precision = next((decision for decision in precisions if decision), None)
    if precision is None:
        raise UnsupportedError(f"device {profile.name}: none of its exporters can write this student as int8")
    models |= variants
    compared = target.compare(models, (TEACHER, TEACHER_INT8, "fp32"), "variants")
    judged = {"comparison": compared} | _prefixed("model", models) | _prefixed("val", val)
    selection = call(deploy.SELECT, deploy.Select(budget=pipeline.budget, variants=tuple(variants)), judged, here)
    test = {name: target.evaluate(model, dataset, "test", name) for name, model in models.items()}
    told = call(
        report.REPORT,
        report.Tell(
            pipeline=pipeline.name, target=profile.name, budget=pipeline.budget, variants=tuple(variants),
            rank=pipeline.search.rank,
            dialect="; ".join(map(str, by_dialect(runtimes, device))), not_written=target.not_written,
            replayed=tuple(differences) if differences is not None else None,
            advice=tuple(advice(pipeline, _classes(dataset))),
        ),
        judged | found | {"selection": selection, "precision": precision, "student": student} | _prefixed("test", test),
        here,
    )  # fmt: skip
    return Chain(dataset, models, told)


@dataclass(frozen=True)
class _Target:
    """The steps that recur, with what they share."""

    engine: Engine
    pipeline: Pipeline
    profile: DeviceProfile
    runtime: Runnable  # the first: baselines and candidates are measured in it
    cpu: Cpu
    runtimes: Sequence[Runnable]
    not_written: dict[str, str] = field(default_factory=dict)  # filled on the way: variants and why

    @property
    def dialect(self) -> Any:
        return self.runtime.dialect.on(self.cpu)

    def at(self, variant: str | None = None, student: str | None = None) -> Coordinates:
        return Coordinates(self.profile.name, student, variant)

    def named(self, variant: str, spec: Runnable) -> str:
        """A variant in the first runtime has its plain name."""
        return variant if spec is self.runtime else f"{variant}@{spec.name}"

    def hub(self, checkpoint: Result, dataset: Result, variant: str) -> Result:
        return self.engine.call(
            deploy.ONNX_FLOAT, deploy.ExportFloat(preprocess=self.pipeline.preprocess),
            {"checkpoint": checkpoint, "data": dataset}, Coordinates(variant=variant),
        )  # fmt: skip

    def teachers(self, master: Result, given: Given | None, dataset: Result) -> dict[str, Result]:
        """The teacher's own files, float and int8: what every student is held against."""
        own = given is None or given.shape is not None
        if given is not None and given.kind == "onnx":
            settings = deploy.ExportFloat(preprocess=self.pipeline.preprocess)
            hub = self.engine.call(
                deploy.TAKE_TEACHER, settings, {"checkpoint": master, "data": dataset}, self.at(TEACHER)
            )
        else:
            hub = self.hub(master, dataset, TEACHER)
        at = self.at(TEACHER_INT8)
        if own:
            integers = self._ptq(master, dataset, self.dialect, at)
        else:
            plan = quant.PtqGiven(dialect=self.dialect, samples=self.pipeline.quantize.calibration_images)
            integers = self.engine.call(quant.PTQ_GIVEN, plan, {"hub": hub, "data": dataset}, at)
        return {TEACHER: self.needed(hub, self.at(TEACHER)), TEACHER_INT8: self.needed(integers, at)}

    def floats(self, student: Result, dataset: Result) -> dict[str, Result]:
        """The float student in every runtime that takes floats."""
        hub = self.hub(student, dataset, "fp32")
        return self.written("fp32", hub, [spec for spec in self.runtimes if takes_floats(spec)])

    def int8(
        self,
        student: Result,
        master: Result,
        dataset: Result,
        dialect: Dialect,
        members: Sequence[Runnable],
        variants: dict[str, Result],
        val: dict[str, Result],
    ) -> Result | None:
        """
        int8 for the runtimes of one dialect, added to `variants` and `val`: by PTQ, and by QAT where PTQ loses more
        than the margin. That decision; None where no exporter of them knows such a net.
        """

        def add(variant: str, hub: Result) -> str | None:
            made = self.written(variant, hub, members)
            variants.update(made)
            val.update({name: self.evaluate(model, dataset, "val", name) for name, model in made.items()})
            return next(iter(made), None)

        first = add("int8", self.ptq(student, dataset, dialect, members[0]))
        if first is None:
            return None
        plan = self.pipeline.quantize
        decision = self.engine.call(
            quant.NEEDS_QAT, quant.NeedsQat(margin_points=plan.margin_points),
            {"fp32": val["fp32"], "ptq": val[first]}, self.at(None if first == "int8" else first),
        )  # fmt: skip
        if plan.then == "qat" and _known(decision, "qat", default=True):
            add("int8-qat", self.qat(student, master, dataset, dialect, members[0]))
        return decision

    def ptq(self, checkpoint: Result, dataset: Result, dialect: Dialect, spec: Runnable) -> Result:
        return self._ptq(checkpoint, dataset, dialect, self.at(self.named("int8", spec)))

    def _ptq(self, checkpoint: Result, dataset: Result, dialect: Dialect, at: Coordinates) -> Result:
        settings = quant.Ptq(
            dialect=dialect, preprocess=self.pipeline.preprocess,
            calibration_images=self.pipeline.quantize.calibration_images,
        )  # fmt: skip
        return self.engine.call(quant.PTQ, settings, {"checkpoint": checkpoint, "data": dataset}, at)

    def qat(self, student: Result, master: Result, dataset: Result, dialect: Dialect, spec: Runnable) -> Result:
        settings = quant.Qat(
            dialect=dialect, preprocess=self.pipeline.preprocess, views=self.pipeline.views,
            train=self.pipeline.quantize.qat, losses=self.pipeline.distill.losses,
        )  # fmt: skip
        at = self.at(self.named("int8-qat", spec))
        return self.engine.call(quant.QAT, settings, {"student": student, "teacher": master, "data": dataset}, at)

    def written(self, variant: str, hub: Result, members: Sequence[Runnable]) -> dict[str, Result]:
        """One graph in several runtimes, without those whose exporter cannot write it: why is kept for the report."""
        specs = {self.named(variant, spec): spec for spec in members}
        models = {name: self.export(hub, self.at(name), spec) for name, spec in specs.items()}
        for name, model in models.items():
            if isinstance(model, Artifact) and not exporter.is_written(model):
                self.not_written[name] = exporter.read(model)["refused"]
        return {name: model for name, model in models.items() if exporter.is_written(model)}

    def needed(self, hub: Result, at: Coordinates, *, trained: bool = True) -> Result:
        """In the first runtime, which all others are held against: what it cannot take ends the build."""
        model = self.export(hub, at, self.runtime, trained=trained)
        if isinstance(model, Artifact) and not exporter.is_written(model):
            raise UnsupportedError(f"{at}: {exporter.read(model)['refused']}")
        return model

    def export(self, hub: Result, at: Coordinates, spec: Runnable, *, trained: bool = True) -> Result:
        settings = deploy.Export(runtime=spec, cpu=self.cpu, model=f"{self.pipeline.name}/{at}", trained=trained)
        stage = replace(
            deploy.EXPORT, uses=(*deploy.EXPORT.uses, *spec.packages, *exporter.distribution(spec.exporter))
        )
        return self.engine.call(stage, settings, {"hub": hub}, at)

    def evaluate(self, model: Result, dataset: Result, split: data.Split, variant: str) -> Result:
        settings = deploy.Evaluate(split=split, cpu=self.cpu)
        return self.engine.call(
            self._with_runtime(deploy.EVALUATE), settings, {"model": model, "data": dataset},
            self.at(f"{variant}, {split}"),
        )  # fmt: skip

    def compare(self, models: Mapping[str, Result], bases: tuple[str, ...], what: str) -> Result:
        settings = hardware.Compare(cpu=self.cpu, measuring=self.profile.measure, bases=bases)
        return self.engine.call(
            self._with_runtime(hardware.COMPARE), settings, _prefixed("model", models), self.at(what)
        )

    def search(
        self,
        dataset: Result,
        teachers: Mapping[str, Result],
        master: Result,
        given: Given | None,
        lesson: Mapping[str, Result],
    ) -> dict[str, Result]:
        """
        Score a sample, measure the best with random weights, distil the best of these for a while, choose: all that was
        found on the way, by name.
        """
        plan, call, here = self.pipeline.search, self.engine.call, self.at()
        budget, room = self.pipeline.budget, plan.headroom
        shape = given.shape if given else self.pipeline.teacher.shape
        scores = call(
            search.SCORE,
            search.Score(
                space=for_teacher(plan.space, shape), candidates=plan.candidates, teacher=shape,
                preprocess=self.pipeline.preprocess.outside, seed=plan.seed,
                scores=tuple(dict.fromkeys((*search.ALWAYS, *plan.rank))),
            ),
            {"data": dataset} if shape and "teacher-cka" not in plan.rank else {"data": dataset, "teacher": master},
        )  # fmt: skip
        shortlist = call(
            search.SHORTLIST, search.Shortlist(rank=plan.rank, measure=plan.measure, budget=budget, headroom=room),
            {"scores": scores}, here,
        )  # fmt: skip
        models = dict(teachers)
        for number in range(plan.measure):
            candidate = self._candidate(shortlist, number)
            if candidate is not None:
                name, settings = candidate
                at = self.at(student=name)
                hub = call(quant.RANDOM, settings, {"data": dataset}, at)
                models[name] = self.needed(hub, at, trained=False)
        compared = self.compare(models, (TEACHER, TEACHER_INT8), "candidates")
        feasible = call(
            search.FEASIBLE, search.Feasible(budget=budget, headroom=room),
            {"shortlist": shortlist, "comparison": compared}, here,
        )  # fmt: skip
        rounds = race(self.engine, self.pipeline, feasible, lesson, here)
        choice = call(search.CHOOSE, search.Choose(), {"candidates": [feasible, *rounds][-1]}, here)
        raced = {f"round.{number}": result for number, result in enumerate(rounds, 1)}
        return {"scores": scores, "shortlist": shortlist, "candidates": compared, "feasible": feasible,
                "choice": choice, **raced}  # fmt: skip

    def _candidate(self, shortlist: Result, number: int) -> tuple[str, quant.RandomInt8 | None] | None:
        """The name and settings of a candidate; no settings while planning, None past the end of a short list."""
        if not isinstance(shortlist, Artifact):
            return f"candidate {number + 1}", None
        rows = shortlist.json("candidates.json")["candidates"]
        if number >= len(rows):
            return None
        shape = NetShape.model_validate_json(json.dumps(rows[number]["shape"]))
        settings = quant.RandomInt8(shape=shape, dialect=self.dialect, preprocess=self.pipeline.preprocess)
        return rows[number]["id"], settings

    def _with_runtime(self, stage: Any) -> Any:
        """The stage with the versions of the runtimes' packages in its key."""
        return replace(stage, uses=(*stage.uses, *(package for spec in self.runtimes for package in spec.packages)))


def dataset_of(engine: Engine, pipeline: Pipeline) -> Result:
    stage, source = data.loading(pipeline.data, pipeline.preprocess)
    return engine.call(stage, source, {})


def unlabelled_of(engine: Engine, pipeline: Pipeline, dataset: Result) -> dict[str, Result]:
    """The input of pictures without labels, where there are any."""
    more = pipeline.distill.unlabelled
    if more is None:
        return {}
    settings = data.LoadUnlabelled(data=more, geometry=pipeline.preprocess.geometry)
    return {"unlabelled": engine.call(data.LOAD_UNLABELLED, settings, {"data": dataset})}


def teacher_of(engine: Engine, pipeline: Pipeline, dataset: Result) -> tuple[Result, Given | None]:
    """The teacher's checkpoint, and what it is where it is given and not trained here; looked at before it teaches."""
    plan = pipeline.teacher
    given = given_teacher(pipeline)
    if given is not None:
        taken = engine.call(teacher.LOAD, teacher.LoadTeacher(given=given), {"data": dataset})
        check = teacher.CheckTeacher(preprocess=pipeline.preprocess.outside, trust=plan.trust)
        engine.call(teacher.CHECK, check, {"teacher": taken, "data": dataset})
        return taken, given
    assert plan.train is not None
    settings = teacher.TrainTeacher(
        shape=plan.shape, train=plan.train, preprocess=pipeline.preprocess.outside, views=pipeline.views
    )
    return engine.call(teacher.TRAIN, settings, {"data": dataset}), None


def taught_by(engine: Engine, pipeline: Pipeline, dataset: Result, master: Result) -> Result:
    """Whom students learn from: the teacher, or the mean of all where there is a pool."""
    pool = pipeline.teacher.pool
    if not pool:
        return master
    members = {"teacher.0": master}
    check = teacher.CheckTeacher(preprocess=pipeline.preprocess.outside, trust=pipeline.teacher.trust)
    for number, one in enumerate(pool, 1):
        given = inspect(one.from_, one.weights, one.function, one.labels, one.revision)
        at = Coordinates(student=f"teacher {number + 1}")
        taken = engine.call(teacher.LOAD, teacher.LoadTeacher(given=given), {"data": dataset}, at)
        engine.call(teacher.CHECK, check, {"teacher": taken, "data": dataset}, at)
        members[f"teacher.{number}"] = taken
    shares = (1.0, *(one.share for one in pool))
    return engine.call(teacher.POOL, teacher.PoolTeachers(shares=shares), members)


def given_teacher(pipeline: Pipeline) -> Given | None:
    """What a pipeline's teacher is, where it is given; that it gives what is asked of it is seen to."""
    plan = pipeline.teacher
    if plan.from_ is None:
        return None
    given = inspect(plan.from_, plan.weights, plan.function, plan.labels, plan.revision)
    check_needs(pipeline, given)
    return given


def check_needs(pipeline: Pipeline, given: Given) -> None:
    """Raises ConfigError where a loss or a score asks of the teacher what it does not give."""
    asks = [(f"distill.losses: {loss.name}", loss.needs) for loss in pipeline.distill.losses]
    asks += [(f"search.rank: {name}", search.NEEDS.get(name, frozenset())) for name in pipeline.search.rank]
    for who, needs in asks:
        if lacking := sorted(needs - given.gives):
            raise ConfigError(
                f"{who} needs the teacher's {WORDS[lacking[0]]}, and {given.path} ({given.kind}) gives "
                f"{', '.join(WORDS[gift] for gift in sorted(given.gives))} alone; leave it out, or take another teacher"
            )


def _classes(dataset: Result) -> int | None:
    return len(dataset.json("dataset.json")["labels"]) if isinstance(dataset, Artifact) else None


def _prefixed(prefix: str, results: Mapping[str, T]) -> dict[str, T]:
    return {f"{prefix}.{name}": result for name, result in results.items()}


def _known(decision: Result, key: str, *, default: bool) -> bool:
    return bool(decision.json("decision.json")[key]) if isinstance(decision, Artifact) else default
