"""The chain of text, as plain Python over memoised stages: texts, teacher, student, variants, measure, select."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekd.budget import TEACHER
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.hardware.profile import DeviceProfile
from edgekd.report import stages as report
from edgekd.text import stages
from edgekd.text.plans import AnyTextPipeline
from edgekd.text_learning import taught
from edgekd.text_target import FLOAT, OF_TEACHER, TextTarget, check_single_file, prefixed


@dataclass(frozen=True)
class TextChain:
    texts: Result
    student: Result
    hub: Result
    stock: Result | None  # the float student, for transformers
    single: Result | None  # the file that reads text itself
    models: Mapping[str, Result]  # exported, by variant
    report: Result


def text_chain(
    engine: Engine,
    pipeline: AnyTextPipeline,
    profile: DeviceProfile,
    differences: Sequence[str] | None = None,
    device: str | None = None,
) -> TextChain:
    """One target's build, measured here or on `device`; the same code plans it (see `edgekd.chain`)."""
    target = TextTarget.of(engine, pipeline, profile, device)
    check_single_file(pipeline, profile)
    learnt = taught(target)
    hubs = target.hubs(learnt)
    models = {n: m for prefix, hub in hubs.items() for n, m in target.variants(hub, prefix, learnt.texts).items()}
    teachers, own = _parted(models)
    compared = target.compare(models, (*teachers, FLOAT))
    val = target.evaluated({name: models[name] for name in (TEACHER, *own)}, hubs, learnt, "val")
    settings = stages.SelectText(
        budget=pipeline.budget, variants=tuple(own), teachers=tuple(teachers), base=TEACHER, floor=FLOAT
    )
    judged = {"comparison": compared} | prefixed("model", models) | prefixed("val", val)
    selection = engine.call(stages.SELECT, settings, judged, target.at())
    told = report.TellText(
        pipeline=pipeline.name, task=pipeline.task, target=profile.name, select=settings,
        length=target.measured, read=target.read, padded=profile.fixes_shapes,
        not_written=dict(target.not_written), replayed=tuple(differences) if differences is not None else None,
    )  # fmt: skip
    test = target.evaluated(models, hubs, learnt, "test")
    made = engine.call(
        report.TEXT, told,
        judged | {"selection": selection, "student": learnt.student, "texts": learnt.texts} | prefixed("test", test),
        target.at(),
    )  # fmt: skip
    single = None
    if pipeline.single_file:
        files = prefixed("model", {name: models[name] for name in own})
        more = {"hub": hubs[""], "texts": learnt.texts, "report": made}
        single = engine.call(stages.SINGLE_FILE, stages.SingleFile(), files | more, target.at())
    return TextChain(learnt.texts, learnt.student, hubs[""], target.stock(learnt), single, models, made)


def _parted(models: Mapping[str, Result]) -> tuple[list[str], list[str]]:
    """Names of the teacher's files, and of the student's."""
    teachers = [name for name in models if name.startswith(OF_TEACHER)]
    return teachers, [name for name in models if not name.startswith(OF_TEACHER)]
