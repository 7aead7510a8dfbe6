"""The search for a student: data and teacher, scores, latencies, short distillations, a choice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from edgekd.budget import TEACHER, TEACHER_INT8, check_decidable
from edgekd.engine.plan import Result
from edgekd.engine.store import Artifact
from edgekd.keeping import targets_of
from edgekd.models.shape import NetShape
from edgekd.racing import race
from edgekd.search import stages as search
from edgekd.search.limits import limits_of
from edgekd.search.spaces import for_teacher
from edgekd.sources import dataset_of, taught_by, teacher_of, unlabelled_of
from edgekd.target import Target
from edgekd.teacher.stages import Given


@dataclass(frozen=True)
class Sought:
    """`found` holds the search's own results by name; `lesson` what students are taught with."""

    dataset: Result
    given: Given | None
    tutor: Result
    lesson: Mapping[str, Result]
    models: Mapping[str, Result]  # the teacher's files
    found: Mapping[str, Result]


def seek(target: Target) -> Sought:
    """From the pipeline's data to the choice of one student for this target."""
    engine, pipeline = target.engine, target.pipeline
    dataset = dataset_of(engine, pipeline)
    if isinstance(dataset, Artifact):
        check_decidable(pipeline.budget, dataset.json("dataset.json")["splits"]["test"])
    master, given = teacher_of(engine, pipeline, dataset)
    tutor = taught_by(engine, pipeline, dataset, master)
    models = target.teachers(master, given, dataset)
    lesson = {"data": dataset, "teacher": tutor} | unlabelled_of(engine, pipeline, dataset)
    kept = targets_of(engine, pipeline, dataset, tutor, given)
    lesson |= {"targets": kept} if kept else {}
    return Sought(dataset, given, tutor, lesson, models, search_for(target, dataset, models, master, given, lesson))


def search_for(
    target: Target,
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
    plan, call, here = target.pipeline.search, target.engine.call, target.at()
    budget, room = target.pipeline.budget, plan.headroom
    shape = given.shape if given else target.pipeline.teacher.shape
    scores = call(
        search.SCORE,
        search.Score(
            space=for_teacher(plan.space, shape), candidates=plan.candidates, teacher=shape,
            preprocess=target.pipeline.preprocess.outside, seed=plan.seed,
            scores=tuple(dict.fromkeys((*search.ALWAYS, *plan.rank))),
        ),
        {"data": dataset} if shape and "teacher-cka" not in plan.rank else {"data": dataset, "teacher": master},
    )  # fmt: skip
    shortlist = call(
        search.SHORTLIST, search.Shortlist(
            rank=plan.rank, measure=plan.measure, budget=budget, headroom=room, limits=limits_of(target.profile)
        ),
        {"scores": scores}, here,
    )  # fmt: skip
    models = dict(teachers)
    for number in range(plan.measure):
        candidate = _candidate(target, shortlist, number)
        if candidate is not None:
            name, settings = candidate
            at = target.at(student=name)
            models[name] = call(target.versioned(search.CANDIDATE), settings, {"data": dataset}, at)
    compared = target.compare(models, (TEACHER, TEACHER_INT8), "candidates")
    feasible = call(
        search.FEASIBLE, search.Feasible(budget=budget, headroom=room),
        {"shortlist": shortlist, "comparison": compared}, here,
    )  # fmt: skip
    rounds = race(target.engine, target.pipeline, feasible, lesson, here)
    choice = call(search.CHOOSE, search.Choose(), {"candidates": [feasible, *rounds][-1]}, here)
    raced = {f"round.{number}": result for number, result in enumerate(rounds, 1)}
    return {"scores": scores, "shortlist": shortlist, "candidates": compared, "feasible": feasible,
            "choice": choice, **raced}  # fmt: skip


def _candidate(target: Target, shortlist: Result, number: int) -> tuple[str, search.WriteCandidate | None] | None:
    """The name and settings of a candidate; no settings while planning, None past the end of a short list."""
    if not isinstance(shortlist, Artifact):
        return f"candidate {number + 1}", None
    rows = shortlist.json("candidates.json")["candidates"]
    if number >= len(rows):
        return None
    shape = NetShape.model_validate_json(json.dumps(rows[number]["shape"]))
    settings = search.WriteCandidate(
        shape=shape, runtime=target.runtime, cpu=target.cpu, preprocess=target.pipeline.preprocess
    )
    return rows[number]["id"], settings
