"""Students out of one supernet: it is trained once, its sub-networks are the candidates, and they start from it."""

from __future__ import annotations

from collections.abc import Mapping

from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.errors import ConfigError
from edgekd.models.shape import NetShape
from edgekd.pipeline import Pipeline
from edgekd.search.supernets import stages as supernets


def supernet_of(
    engine: Engine, pipeline: Pipeline, lesson: Mapping[str, Result], teacher: NetShape | None
) -> Result | None:
    """The trained supernet, where the pipeline asks for one. Raises ConfigError where nothing says its shape."""
    plan = pipeline.search.supernet
    if plan is None:
        return None
    whole = plan.shape or teacher
    if whole is None:
        raise ConfigError(
            "search.supernet: the teacher is no net of edgekd's, whose shape the supernet could have; name one "
            "(search.supernet.shape)"
        )
    train = pipeline.distill.training.model_copy(update={"epochs": plan.epochs, "average_from": 1.0, "patience": 0})
    settings = supernets.TrainSupernet(
        shape=whole, nested=plan.nested, train=train, preprocess=pipeline.preprocess.outside, views=pipeline.views,
        rule=plan.rule, shrink_from=plan.shrink_from,
    )  # fmt: skip
    asked = {name: lesson[name] for name in ("data", "teacher", "targets") if name in lesson}
    return engine.call(supernets.SUPERNET, settings, asked, Coordinates(student="supernet"))


def scores_of(
    engine: Engine, pipeline: Pipeline, supernet: Result, inputs: Mapping[str, Result], teacher: NetShape | None
) -> Result:
    """Its sub-networks as candidates, whose score is the loss on val."""
    plan = pipeline.search.supernet
    assert plan is not None
    settings = supernets.JudgeSubnets(
        nested=plan.nested, count=plan.count, preprocess=pipeline.preprocess.outside, seed=pipeline.search.seed
    )
    at = Coordinates(student="sub-networks")
    judged = engine.call(supernets.SUBNETS, settings, {"supernet": supernet, "data": inputs["data"]}, at)
    return engine.call(supernets.SCORES, supernets.ScoreSubnets(teacher=teacher), {**inputs, "subnets": judged}, at)


def first_of(
    engine: Engine, pipeline: Pipeline, supernet: Result | None, shape: NetShape | None, data: Result, at: Coordinates
) -> dict[str, Result]:
    """What a student of this shape starts from: nothing without a supernet; `shape` is None while planning."""
    if supernet is None:
        return {}
    settings = supernets.Extract(shape=shape, preprocess=pipeline.preprocess.outside) if shape else None
    return {"first": engine.call(supernets.EXTRACT, settings, {"supernet": supernet, "data": data}, at)}
