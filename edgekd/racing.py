"""Successive halving: the best candidates by score are distilled for a short while, and the better ones for longer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgekd.distill import stages as distill
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact
from edgekd.models.shape import NetShape, shape_of
from edgekd.nesting import first_of
from edgekd.pipeline import Pipeline
from edgekd.search import stages as search


def race(
    engine: Engine,
    pipeline: Pipeline,
    feasible: Result,
    inputs: Mapping[str, Result],
    at: Coordinates,
    supernet: Result | None = None,
) -> list[Result]:
    """
    What each round says, the last one's first candidate being the best; none where there is nothing to choose from.

    Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization" (2016), algorithm
    1. Each round trains afresh with a whole schedule, for a cut one ranks by who warms up fastest; all are judged on
    val. `feasible` names candidates, the best by score first.
    """
    rounds, before, found = list(lengths(pipeline)), feasible, list[Result]()
    names = first(feasible, min(pipeline.search.race.students, pipeline.search.measure))
    for number, (students, epochs) in enumerate(rounds, 1):
        if len(names) < 2:
            break
        here = {name: Coordinates(at.target, name, f"round {number}") for name in names[:students]}
        judged = {
            f"val.{name}": _judged(engine, pipeline, before, name, epochs, inputs, place, supernet)
            for name, place in here.items()
        }
        keep = rounds[number][0] if number < len(rounds) else 1
        before = engine.call(
            search.ROUND, search.Round(epochs=epochs, keep=keep), judged | {"candidates": before},
            Coordinates(at.target, variant=f"round {number}"),
        )  # fmt: skip
        found.append(before)
        names = first(before, keep)
    return found


def lengths(pipeline: Pipeline) -> Iterator[tuple[int, int]]:
    """Students and epochs of each round, of which the next has fewer and more."""
    plan, before = pipeline.search.race, 0
    for number in range(plan.rounds):
        students = round(plan.students / plan.factor**number)
        epochs = max(1, round(plan.share * plan.factor**number * pipeline.distill.epochs))
        if students >= 2 and before < epochs < pipeline.distill.epochs:
            yield students, epochs
        before = epochs


def first(candidates: Result, count: int) -> list[str]:
    """The names of the best; words that stand for them while planning."""
    if isinstance(candidates, Artifact):
        return [row["id"] for row in candidates.json("candidates.json")["candidates"]][:count]
    return [f"candidate {number + 1}" for number in range(count)]


def _judged(
    engine: Engine,
    pipeline: Pipeline,
    candidates: Result,
    name: str,
    epochs: int,
    inputs: Mapping[str, Result],
    at: Coordinates,
    supernet: Result | None,
) -> Result:
    settings = distill.of(pipeline.distill, pipeline.preprocess, pipeline.views)
    short = settings.train.model_copy(update={"epochs": epochs, "looks": 0, "average_from": 1.0})
    shape = _shape(candidates, name) if isinstance(candidates, Artifact) else None
    student = engine.call(distill.GIVEN, distill.GiveStudent(shape=shape) if shape else None, {}, at)
    taught = {**inputs, "student": student} | first_of(engine, pipeline, supernet, shape, inputs["data"], at)
    net = engine.call(distill.FLOAT, settings.model_copy(update={"train": short}), taught, at)
    judge = distill.Judge(split="val", preprocess=pipeline.preprocess.outside, threads=settings.train.threads)
    return engine.call(distill.JUDGE, judge, {"net": net, "data": inputs["data"]}, at)


def _shape(candidates: Artifact, name: str) -> NetShape:
    (row,) = [row for row in candidates.json("candidates.json")["candidates"] if row["id"] == name]
    return shape_of(row["shape"])
