"""The chain, as plain Python over memoised stages: data, teacher, search, training, int8, export, measure, select."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekd.advice import advice
from edgekd.assistant import assistant_of
from edgekd.budget import TEACHER, TEACHER_INT8
from edgekd.cutting import Cutter, asked_of_zeros
from edgekd.deploy import stages as deploy
from edgekd.distill import stages as distill
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact
from edgekd.errors import UnsupportedError
from edgekd.hardware.here import by_dialect
from edgekd.hardware.profile import DeviceProfile
from edgekd.keeping import targets_of
from edgekd.looking import looks_of
from edgekd.models.shape import NetShape
from edgekd.nesting import first_of
from edgekd.pipeline import Pipeline
from edgekd.plans import PrunePlan
from edgekd.probing import float_settings
from edgekd.report import stages as report
from edgekd.seeking import Sought, ranked_by, seek
from edgekd.sources import given_teacher
from edgekd.target import Target, prefixed

OWN = "prune: in a build the teacher is one of edgekd's own nets; `edgekd prune` takes others"


@dataclass(frozen=True)
class Taught:
    """A student that one target was searched for, trained in float."""

    sought: Sought
    tutor: Result
    found: Mapping[str, Result]
    student: Result


@dataclass(frozen=True)
class Chain:
    data: Result
    models: Mapping[str, Result]  # exported, by variant
    report: Result


def chain(
    engine: Engine,
    pipeline: Pipeline,
    profile: DeviceProfile,
    differences: Sequence[str] | None = None,
    device: str | None = None,
) -> Chain:
    """
    One target's build, measured here or on `device` (ssh://user@host:port); the same code plans it, with an engine that
    answers `Pending` for what is not there.

    `differences` are those that a replay of a lock has found by the time the report is written.
    """
    target = Target.of(engine, pipeline, profile, device)
    runtimes = target.runtimes
    call, here = engine.call, Coordinates(target=profile.name)
    learnt = taught(target)
    sought, tutor, found, student = learnt.sought, learnt.tutor, learnt.found, learnt.student
    dataset, models = sought.dataset, dict(sought.models)
    variants = target.floats(student, dataset)
    val = {name: target.evaluate(model, dataset, "val", name) for name, model in (models | variants).items()}
    precisions = [
        target.int8(student, tutor, dataset, dialect, members, variants, val)
        for dialect, members in by_dialect(runtimes, target.cpu).items()
    ]
    precision = next((decision for decision in precisions if decision), None)
    if precision is None:
        raise UnsupportedError(f"device {profile.name}: none of its exporters can write this student as int8")
    models |= variants
    compared = target.compare(models, (TEACHER, TEACHER_INT8, "fp32"), "variants")
    judged = {"comparison": compared} | prefixed("model", models) | prefixed("val", val)
    selection = call(deploy.SELECT, deploy.Select(budget=pipeline.budget, variants=tuple(variants)), judged, here)
    test = {name: target.evaluate(model, dataset, "test", name) for name, model in models.items()}
    looks = looks_of(engine, pipeline, dataset, student, sought.tutor, profile.name)
    told = call(
        report.REPORT,
        report.Tell(
            pipeline=pipeline.name, target=profile.name, budget=pipeline.budget, variants=tuple(variants),
            rank=ranked_by(pipeline),
            dialect="; ".join(map(str, by_dialect(runtimes, target.cpu))), not_written=target.not_written,
            replayed=tuple(differences) if differences is not None else None,
            advice=tuple(advice(pipeline, classes_of(dataset))), search_cost=sought.cost,
        ),
        judged | dict(found) | prefixed("test", test) | prefixed("look", looks)
        | {"selection": selection, "precision": precision, "student": student},
        here,
    )  # fmt: skip
    return Chain(dataset, models, told)


def taught(target: Target) -> Taught:
    """Search and training in float, which all targets of a build may share."""
    engine, pipeline, here = target.engine, target.pipeline, Coordinates(target=target.profile.name)
    if pipeline.prune is not None and (given := given_teacher(pipeline)) is not None and given.shape is None:
        raise UnsupportedError(OWN)
    sought = seek(target)
    if pipeline.prune is not None:
        return cut(target, sought, pipeline.prune)
    dataset, tutor, found = sought.dataset, sought.tutor, sought.found
    lesson = dict(sought.lesson)
    shape = sought.given.shape if sought.given else pipeline.teacher.shape
    between = assistant_of(engine, pipeline, shape, found["choice"], {"data": dataset, "teacher": tutor})
    if between:
        tutor = between
        kept = targets_of(engine, pipeline, dataset, tutor, None)
        lesson |= {"teacher": tutor} | ({"targets": kept} if kept else {})
    lesson |= {"student": found["choice"]}
    lesson |= first_of(engine, pipeline, sought.supernet, _shape(found["choice"]), dataset, here)
    found = {**found, **asked_of_zeros(target, _shape(found["choice"]), dataset)}
    student = engine.call(distill.FLOAT, float_settings(engine, pipeline, lesson, here), lesson, here)
    return Taught(sought, tutor, found, student)


def cut(target: Target, sought: Sought, plan: PrunePlan) -> Taught:
    """What is left of the teacher, which teaches it, in place of a student that was searched for."""
    cutter = Cutter.of(target, sought.master, sought.lesson, plan)
    if cutter.foreign:
        raise UnsupportedError(OWN)
    cuts = cutter.cuts("pruned", plan.latency_ratio)
    found = prefixed("cut", {str(number): each for number, each in enumerate(cuts)})
    found |= asked_of_zeros(target, _shape(cuts[-1]), sought.dataset)
    return Taught(sought, sought.tutor, found, cutter.trained("pruned", cuts[-1]))


def _shape(choice: Result) -> NetShape | None:
    if not isinstance(choice, Artifact):
        return None
    return NetShape.model_validate_json(choice.file("shape.json").read_text("utf-8"))


def classes_of(dataset: Result) -> int | None:
    return len(dataset.json("dataset.json")["labels"]) if isinstance(dataset, Artifact) else None
