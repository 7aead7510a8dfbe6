"""What every chain begins with: the data, the teacher, and who teaches."""

from __future__ import annotations

from edgekd.data import stages as data
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.errors import ConfigError
from edgekd.pipeline import Pipeline
from edgekd.search import stages as search
from edgekd.teacher import stages as teacher
from edgekd.teacher.given import inspect
from edgekd.teacher.stages import WORDS, Given


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
