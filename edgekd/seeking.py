"""The search for a student: data and teacher, scores, latencies, short distillations, a choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgekd.budget import TEACHER, TEACHER_INT8, check_decidable
from edgekd.engine.plan import Result
from edgekd.engine.store import Artifact
from edgekd.hardware.profile import is_here, load_profile
from edgekd.keeping import targets_of
from edgekd.models.shape import shape_of
from edgekd.nesting import scores_of, supernet_of
from edgekd.pipeline import Pipeline
from edgekd.racing import race
from edgekd.search import stages as search
from edgekd.search.limits import limits_of
from edgekd.search.spaces import for_teacher
from edgekd.sources import dataset_of, taught_by, teacher_of, unlabelled_of
from edgekd.spending import seconds_of, spent
from edgekd.target import Target, prefixed
from edgekd.teacher.stages import Given


@dataclass(frozen=True)
class Sought:
    """`found` holds the search's own results by name; `lesson` what students are taught with."""

    dataset: Result
    master: Result  # the first teacher
    given: Given | None
    tutor: Result
    lesson: Mapping[str, Result]
    models: Mapping[str, Result]  # the teacher's files
    found: Mapping[str, Result]
    supernet: Result | None
    cost: dict[str, Any] | None  # None while planning


def seek(target: Target) -> Sought:
    """From the pipeline's data to the choice of one student for this target; none where it is cut from the teacher."""
    engine, pipeline = target.engine, target.pipeline
    dataset = dataset_of(engine, pipeline)
    if isinstance(dataset, Artifact):
        check_decidable(pipeline.budget, dataset.json("dataset.json")["splits"]["test"])
    master, given = teacher_of(engine, pipeline, dataset)
    tutor = taught_by(engine, pipeline, dataset, master)

    made: dict[str, dict[str, Result]] = {}

    def baselines(one: Target) -> dict[str, Result]:
        if one.profile.name not in made:
            files = one.teachers_estimate if one.profile.compiler else one.teachers
            made[one.profile.name] = files(master, given, dataset)
        return dict(made[one.profile.name])

    lesson = {"data": dataset, "teacher": tutor} | unlabelled_of(engine, pipeline, dataset)
    kept = targets_of(engine, pipeline, dataset, tutor, given)
    lesson |= {"targets": kept} if kept else {}
    if pipeline.prune is not None:
        return Sought(dataset, master, given, tutor, lesson, baselines(target), {}, None, None)
    before = len(engine.trail)
    supernet = supernet_of(engine, pipeline, lesson, given.shape if given else pipeline.teacher.shape)
    found = search_for(target, baselines, master, given, lesson, supernet)
    cost = None
    if isinstance(found["scores"], Artifact):
        scores = found["scores"].json("scores.json")
        macs = {row["id"]: row["scores"]["macs"] for row in scores["candidates"]}
        cost = spent(seconds_of(engine, before), pipeline, macs, scores.get("tried", len(macs)))
    return Sought(dataset, master, given, tutor, lesson, baselines(target), found, supernet, cost)


def search_for(
    target: Target,
    baselines: Callable[[Target], dict[str, Result]],
    master: Result,
    given: Given | None,
    lesson: Mapping[str, Result],
    supernet: Result | None,
) -> dict[str, Result]:
    """
    Score a sample, measure the best with random weights, distil the best of these for a while, choose: all that was
    found on the way, by name.
    """
    plan, call, here, dataset = target.pipeline.search, target.engine.call, target.at(), lesson["data"]
    budget, room = target.pipeline.budget, plan.headroom
    shape = given.shape if given else target.pipeline.teacher.shape
    wanted = search.Score(
        space=for_teacher(plan.space, shape), candidates=plan.candidates, teacher=shape,
        preprocess=target.pipeline.preprocess.outside, seed=plan.seed, inits=plan.inits,
        scores=tuple(dict.fromkeys((*plan.rank, *search.ALWAYS))),
    )  # fmt: skip
    inputs = {"data": dataset} if shape and "teacher-cka" not in plan.rank else {"data": dataset, "teacher": master}
    if supernet is not None:
        alone = {"data": dataset} if shape else {"data": dataset, "teacher": master}
        scores = scores_of(target.engine, target.pipeline, supernet, alone, shape)
    else:
        scores = _explored(target, wanted, inputs, baselines) if plan.study else call(search.SCORE, wanted, inputs)
    shortlist = call(
        search.SHORTLIST,
        search.Shortlist(
            rank=ranked_by(target.pipeline), measure=plan.measure, budget=budget, headroom=room,
            limits=limits_of(target.profile), target=_whose_limits(target) if plan.study else None,
        ),
        {"scores": scores}, here,
    )  # fmt: skip
    models = baselines(target)
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
    rounds = race(target.engine, target.pipeline, feasible, lesson, here, supernet)
    choice = call(search.CHOOSE, search.Choose(), {"candidates": [feasible, *rounds][-1]}, here)
    raced = {f"round.{number}": result for number, result in enumerate(rounds, 1)}
    return {"scores": scores, "shortlist": shortlist, "candidates": compared, "feasible": feasible,
            "choice": choice, **raced}  # fmt: skip


def ranked_by(pipeline: Pipeline) -> tuple[search.RankName, ...]:
    return ("held-out",) if pipeline.search.supernet else pipeline.search.rank


def _explored(
    target: Target, wanted: search.Score, inputs: Mapping[str, Result], teachers: Callable[[Target], dict[str, Result]]
) -> Result:
    """One study for all targets that can be measured here, in place of a sample: each build reads the same one."""
    plan = target.pipeline.search.study
    assert plan is not None
    all_of_them = together(target)
    settings = search.Explore(
        score=wanted, plan=plan, name=target.pipeline.name, devices=tuple(map(_device, all_of_them)),
        budget=target.pipeline.budget, preprocess=target.pipeline.preprocess,
    )  # fmt: skip
    for each in all_of_them:
        inputs = {**inputs, **prefixed(f"model.{each.profile.name}", teachers(each))}
    packages = [package for each in all_of_them for package in each.runtime.packages]
    stage = replace(search.EXPLORE, uses=(*search.EXPLORE.uses, *dict.fromkeys(packages)))
    return target.engine.call(stage, settings, inputs)


def together(target: Target) -> list[Target]:
    """This target and the pipeline's others that are here or have a compiler's estimate, in the pipeline's order."""
    engine, pipeline = target.engine, target.pipeline
    profiles = [load_profile(name) for name in pipeline.targets]
    estimated = [one for one in profiles if one.compiler and one.compiler.latency == "estimated"]
    if target.there or target.profile not in profiles:  # one place to measure in, or nothing but devices elsewhere
        return [target, *(Target.elsewhere(engine, pipeline, one) for one in estimated)]
    kept = [one for one in profiles if is_here(one) or one in estimated]
    return [
        Target.elsewhere(engine, pipeline, one) if one in estimated else Target.of(engine, pipeline, one)
        for one in kept
    ]


def _whose_limits(target: Target) -> str:
    """Whose limits on latency a shape of a study has to keep: of nothing but devices elsewhere, an estimated one's."""
    names = [one.profile.name for one in together(target)]
    here = bool(target.there) or any(load_profile(name) == target.profile for name in target.pipeline.targets)
    return target.profile.name if here or len(names) == 1 else names[1]


def _device(target: Target) -> search.Device:
    return search.Device(
        name=target.profile.name, runtime=target.runtime, cpu=target.cpu, limits=limits_of(target.profile),
        table=target.pipeline.search.tables.get(target.profile.name), there=target.there,
    )  # fmt: skip


def _candidate(target: Target, shortlist: Result, number: int) -> tuple[str, search.WriteCandidate | None] | None:
    """The name and settings of a candidate; no settings while planning, None past the end of a short list."""
    if not isinstance(shortlist, Artifact):
        return f"candidate {number + 1}", None
    rows = shortlist.json("candidates.json")["candidates"]
    if number >= len(rows):
        return None
    shape = shape_of(rows[number]["shape"])
    settings = search.WriteCandidate(
        shape=shape, runtime=target.measured_in, cpu=target.cpu, preprocess=target.pipeline.preprocess
    )
    return rows[number]["id"], settings
