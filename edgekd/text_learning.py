"""How the student of a text pipeline comes to be: texts, tokens, a teacher, and what it learns or is searched for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgekd.budget import TEACHER
from edgekd.engine.digest import digest_tree
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates, Stage
from edgekd.engine.store import Artifact
from edgekd.text import stages
from edgekd.text.docstrings import PACKAGES
from edgekd.text.plans import AnyTextPipeline, ClassifierPipeline, EmbeddingPipeline
from edgekd.text.settings import TextSearch
from edgekd.text.sources import DocstringsSource, TextSource
from edgekd.text_target import FLOAT, Taught, TextTarget


def taught(target: TextTarget) -> Taught:
    """The student in float, which all targets of a build share, but where it is searched for under their latencies."""
    engine, pipeline = target.engine, target.pipeline
    pairs = None
    if isinstance(pipeline, EmbeddingPipeline) and pipeline.pairs is not None:
        pairs = engine.call(stages.PAIRS, pipeline.pairs, {})
    texts = engine.call(
        _versioned(pipeline.data), stages.ReadTexts(source=pipeline.data), {"pairs": pairs} if pairs is not None else {}
    )
    folder = pipeline.teacher.folder
    given = pretrained = engine.call(
        stages.TEACHER, stages.TakeTeacher(path=str(folder), digest=digest_tree(folder)), {}
    )
    tokens = _tokens(engine, pipeline, texts, given, "teacher")
    if isinstance(pipeline, ClassifierPipeline):
        given = _classifier(engine, pipeline, texts, given, tokens)
    whole = {"model": given, "tokens": tokens}
    classes = isinstance(pipeline, ClassifierPipeline)
    cut = engine.call(stages.CUT, stages.CutStudent(keep=pipeline.keep, classes=classes), whole | {"texts": texts})
    if isinstance(pipeline, ClassifierPipeline) and pipeline.stages:
        lesson = {"student": cut, "tokens": tokens, "texts": texts, "pretrained": pretrained, "tuned": given}
        return Taught(texts, pairs, given, _staged(engine, pipeline, lesson))
    targets = engine.call(stages.TARGETS, stages.Answer(precision=pipeline.computed), whole)
    if isinstance(pipeline, EmbeddingPipeline) and pipeline.search is not None:
        return Taught(texts, pairs, given, _sought(target, pipeline.search, whole | {"targets": targets}, texts))
    same = pipeline.keep.vocabulary is None
    own = tokens if same else _tokens(engine, pipeline, texts, cut, "student")
    lesson = {"student": cut, "tokens": own, "targets": targets}
    if isinstance(pipeline, ClassifierPipeline):
        plan = pipeline.distill.model_copy(update={"train": pipeline.trained(pipeline.distill.train)})
        more = {"texts": texts} | ({"teacher": given} if same else {})  # which would read other tokens
        student = engine.call(stages.TEACH, plan, lesson | more, Coordinates(student="student"))
    else:
        more = {"teacher": given} | ({} if same else {"teacher_tokens": tokens})
        settings = pipeline.distill.model_copy(update={"train": pipeline.trained(pipeline.distill.train)})
        student = engine.call(stages.DISTIL, settings, lesson | more, Coordinates(student="student"))
    return Taught(texts, pairs, given, student)


def _sought(target: TextTarget, search: TextSearch, lesson: Mapping[str, Result], texts: Result) -> Result:
    """Of a supernet's sub-networks the best of those that are fast enough there, taken out as it is."""
    engine = target.engine
    learning = search.supernet.model_copy(update={"train": target.pipeline.trained(search.train)})
    supernet = engine.call(stages.SUPERNET, stages.TrainSupernet(search=learning), lesson)
    both = {"supernet": supernet}
    scoring = stages.ScoreSubnets(search=learning, measured=search.measured)
    scored = both["scored"] = engine.call(stages.SCORE_SUBNETS, scoring, dict(lesson) | both)
    count = len(scored.json("scored.json")["front"]) if isinstance(scored, Artifact) else search.measured

    def taken(number: int) -> Result:
        at = Coordinates(student=f"sub-{number}")
        return engine.call(stages.TAKE_SUBNET, stages.TakeSubnet(number=number), both, at)

    nets = {"teacher": lesson["model"]} | {f"sub-{number}": taken(number) for number in range(count)}
    models: dict[str, Result] = {}
    for name, model in nets.items():
        hub = target.hub(model, texts, f"{name}-")
        models |= target.exported(f"{name}-{FLOAT}", hub, target.runtimes[:1])
    models = {name if name == TEACHER else name.removesuffix(f"-{FLOAT}"): model for name, model in models.items()}
    compared = target.compare(models, (TEACHER,), "sub-networks")
    settings = stages.ChooseSubnet(speedup=search.speedup)
    choice = engine.call(stages.CHOOSE_SUBNET, settings, {"scored": scored, "comparison": compared}, target.at())
    return taken(choice.json("decision.json")["number"] if isinstance(choice, Artifact) else 0)


def _staged(engine: Engine, pipeline: ClassifierPipeline, lesson: Mapping[str, Result]) -> Result:
    """General text first, where a stage reads some."""
    general = {}
    if pipeline.general is not None:
        read = engine.call(_versioned(pipeline.general), stages.ReadTexts(source=pipeline.general), {})
        general["general"] = _tokens(engine, pipeline, read, lesson["pretrained"], "general")
    plans = tuple(
        one.model_copy(update={"learn": one.learn.model_copy(update={"train": pipeline.trained(one.learn.train)})})
        for one in pipeline.stages
    )
    settings = stages.TeachInStages(stages=plans)
    return engine.call(stages.STAGED, settings, dict(lesson) | general, Coordinates(student="student"))


def _classifier(engine: Engine, pipeline: ClassifierPipeline, texts: Result, given: Result, tokens: Result) -> Result:
    """The teacher with the data's classes: as it is, or after it has learnt them."""
    plan = pipeline.teacher.train
    if plan is None:
        return given
    inputs = {"model": given, "tokens": tokens, "texts": texts}
    begun = engine.call(stages.CUT, stages.CutStudent(keep=None, classes=True), inputs, Coordinates(student="teacher"))
    settings = plan.model_copy(update={"train": pipeline.trained(plan.train)})
    lesson = {"student": begun, "tokens": tokens, "texts": texts}
    return engine.call(stages.TEACH, settings, lesson, Coordinates(student="teacher"))


def _tokens(engine: Engine, pipeline: AnyTextPipeline, texts: Result, model: Result, whose: str) -> Result:
    settings = stages.Tokenize(length=pipeline.lengths.train)
    return engine.call(stages.TOKENS, settings, {"texts": texts, "model": model}, Coordinates(student=whose))


def _versioned(source: TextSource) -> Stage[Any]:
    """Reading texts, with the versions of the packages in its key whose docstrings are read."""
    uses = (source.packages or PACKAGES) if isinstance(source, DocstringsSource) else ()
    return replace(stages.DATA, uses=tuple(uses))
