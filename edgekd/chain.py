"""The chain, as plain Python over memoised stages: data, teacher, search, training, int8, export, measure, select."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from edgekd.budget import TEACHER, TEACHER_INT8, check_decidable
from edgekd.data import stages as data
from edgekd.deploy import exporter
from edgekd.deploy import stages as deploy
from edgekd.distill import stages as distill
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact
from edgekd.hardware import stages as hardware
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.profile import DeviceProfile, this_cpu
from edgekd.hardware.specs import Runnable
from edgekd.models.shape import NetShape
from edgekd.pipeline import Pipeline
from edgekd.quant import stages as quant
from edgekd.report import stages as report
from edgekd.search import stages as search
from edgekd.teacher import folder as teacher_folder
from edgekd.teacher import stages as teacher
from edgekd.train.settings import Training

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
    target = _Target(engine, pipeline, profile, profile.runtime(), device)
    call, here = engine.call, Coordinates(target=profile.name)
    dataset = call(data.load_stage(pipeline.data), pipeline.data, {})
    if isinstance(dataset, Artifact):
        check_decidable(pipeline.budget, dataset.json("dataset.json")["splits"]["test"])
    master, shape = _teacher(engine, pipeline, dataset)
    models = {
        TEACHER: target.export_float(master, dataset, TEACHER),
        TEACHER_INT8: target.export_ptq(master, dataset, TEACHER_INT8),
    }
    found = target.search(dataset, models, shape)
    student = call(
        distill.FLOAT,
        distill.DistillFloat(
            losses=pipeline.distill.losses, train=_training(pipeline.distill), preprocess=pipeline.preprocess,
            views=pipeline.views,
        ),
        {"data": dataset, "teacher": master, "student": found["choice"]},
        here,
    )  # fmt: skip
    variants = {"fp32": target.export_float(student, dataset, "fp32"),
                "int8": target.export_ptq(student, dataset, "int8")}  # fmt: skip
    val = {name: target.evaluate(model, dataset, "val", name) for name, model in (models | variants).items()}
    precision = call(
        quant.NEEDS_QAT, quant.NeedsQat(margin_points=pipeline.quantize.margin_points),
        {"fp32": val["fp32"], "ptq": val["int8"]}, here,
    )  # fmt: skip
    if pipeline.quantize.then == "qat" and _known(precision, "qat", default=True):
        variants["int8-qat"] = target.export_qat(student, master, dataset)
        val["int8-qat"] = target.evaluate(variants["int8-qat"], dataset, "val", "int8-qat")
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
            dialect=str(target.dialect),
            replayed=tuple(differences) if differences is not None else None,
        ),
        judged | found | {"selection": selection, "precision": precision} | _prefixed("test", test),
        here,
    )  # fmt: skip
    return Chain(dataset, models, told)


@dataclass(frozen=True)
class _Target:
    """The steps that recur, with what they share."""

    engine: Engine
    pipeline: Pipeline
    profile: DeviceProfile
    runtime: Runnable
    cpu: Cpu

    @property
    def dialect(self) -> Any:
        return self.runtime.dialect.on(self.cpu)

    def at(self, variant: str | None = None, student: str | None = None) -> Coordinates:
        return Coordinates(self.profile.name, student, variant)

    def export_float(self, checkpoint: Result, dataset: Result, variant: str) -> Result:
        hub = self.engine.call(
            deploy.ONNX_FLOAT, deploy.ExportFloat(preprocess=self.pipeline.preprocess),
            {"checkpoint": checkpoint, "data": dataset}, Coordinates(variant=variant),
        )  # fmt: skip
        return self.export(hub, self.at(variant))

    def export_ptq(self, checkpoint: Result, dataset: Result, variant: str) -> Result:
        settings = quant.Ptq(
            dialect=self.dialect, preprocess=self.pipeline.preprocess,
            calibration_images=self.pipeline.quantize.calibration_images,
        )  # fmt: skip
        hub = self.engine.call(quant.PTQ, settings, {"checkpoint": checkpoint, "data": dataset}, self.at(variant))
        return self.export(hub, self.at(variant))

    def export_qat(self, student: Result, master: Result, dataset: Result) -> Result:
        settings = quant.Qat(
            dialect=self.dialect, preprocess=self.pipeline.preprocess, views=self.pipeline.views,
            train=self.pipeline.quantize.qat, losses=self.pipeline.distill.losses,
        )  # fmt: skip
        at = self.at("int8-qat")
        hub = self.engine.call(quant.QAT, settings, {"student": student, "teacher": master, "data": dataset}, at)
        return self.export(hub, at)

    def export(self, hub: Result, at: Coordinates, *, trained: bool = True) -> Result:
        settings = deploy.Export(
            runtime=self.runtime, cpu=self.cpu, model=f"{self.pipeline.name}/{at}", trained=trained
        )
        stage = self._with_runtime(deploy.EXPORT)
        stage = replace(stage, uses=(*stage.uses, *exporter.distribution(self.runtime.exporter)))
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

    def search(self, dataset: Result, teachers: Mapping[str, Result], shape: NetShape) -> dict[str, Result]:
        """Score a sample, measure the best with random weights, choose: all that was found on the way, by name."""
        plan, call, here = self.pipeline.search, self.engine.call, self.at()
        budget, room = self.pipeline.budget, plan.headroom
        scores = call(
            search.SCORE,
            search.Score(
                space=plan.space, candidates=plan.candidates, teacher=shape,
                preprocess=self.pipeline.preprocess, seed=plan.seed,
            ),
            {"data": dataset},
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
                models[name] = self.export(hub, at, trained=False)
        compared = self.compare(models, (TEACHER, TEACHER_INT8), "candidates")
        feasible = call(
            search.FEASIBLE, search.Feasible(budget=budget, headroom=room),
            {"shortlist": shortlist, "comparison": compared}, here,
        )  # fmt: skip
        choice = call(search.CHOOSE, search.Choose(rank=plan.rank), {"scores": scores, "feasible": feasible}, here)
        return {"scores": scores, "shortlist": shortlist, "candidates": compared, "feasible": feasible,
                "choice": choice}  # fmt: skip

    def _candidate(self, shortlist: Result, number: int) -> tuple[str, quant.RandomInt8 | None] | None:
        """The name and settings of a candidate; no settings while planning, None past the end of a short list."""
        if not isinstance(shortlist, Artifact):
            return f"candidate {number + 1}", None
        rows = shortlist.json("shortlist.json")["candidates"]
        if number >= len(rows):
            return None
        shape = NetShape.model_validate_json(json.dumps(rows[number]["shape"]))
        settings = quant.RandomInt8(shape=shape, dialect=self.dialect, preprocess=self.pipeline.preprocess)
        return rows[number]["id"], settings

    def _with_runtime(self, stage: Any) -> Any:
        """The stage with the versions of the runtime's packages in its key."""
        return replace(stage, uses=(*stage.uses, *self.runtime.packages))


def _teacher(engine: Engine, pipeline: Pipeline, dataset: Result) -> tuple[Result, NetShape]:
    """The teacher's checkpoint, trained here or taken from a folder, and its shape."""
    plan = pipeline.teacher
    if plan.from_ is not None:
        digest, shape = teacher_folder.inspect(Path(plan.from_))
        return engine.call(
            teacher.LOAD, teacher.LoadTeacher(folder=plan.from_, digest=digest), {"data": dataset}
        ), shape
    assert plan.train is not None
    settings = teacher.TrainTeacher(
        shape=plan.shape, train=plan.train, preprocess=pipeline.preprocess, views=pipeline.views
    )
    return engine.call(teacher.TRAIN, settings, {"data": dataset}), plan.shape


def _training(plan: Training) -> Training:
    return Training(**{name: getattr(plan, name) for name in Training.model_fields})


def _prefixed(prefix: str, results: Mapping[str, T]) -> dict[str, T]:
    return {f"{prefix}.{name}": result for name, result in results.items()}


def _known(decision: Result, key: str, *, default: bool) -> bool:
    return bool(decision.json("decision.json")[key]) if isinstance(decision, Artifact) else default
