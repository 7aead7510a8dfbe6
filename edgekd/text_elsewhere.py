"""A build of text for a device that is compiled for here and runs elsewhere: one length, in the device's dialect."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.budget import TEACHER
from edgekd.elsewhere import room_of
from edgekd.engine.executor import Engine
from edgekd.errors import UnsupportedError
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.here import takes_floats
from edgekd.hardware.profile import DeviceProfile
from edgekd.report import stages as report
from edgekd.text import stages
from edgekd.text.plans import AnyTextPipeline
from edgekd.text_chain import TextChain
from edgekd.text_learning import taught
from edgekd.text_target import FLOAT, OF_TEACHER, TextTarget, check_single_file, prefixed, taking_text

TRIED = ("qnn", "tensorrt", "tensorrt-rtx")  # compilers that took an encoder


def text_elsewhere(
    engine: Engine,
    pipeline: AnyTextPipeline,
    profile: DeviceProfile,
    lead: DeviceProfile,
    differences: Sequence[str] | None = None,
    device: str | None = None,
) -> TextChain:
    """
    The student is the one that all targets share; in float, it and the teacher answer in the first runtime of `lead`,
    padded as the device pads.
    """
    spec = profile.compiler
    assert spec is not None
    if spec.name not in TRIED:
        raise UnsupportedError(f"device {profile.name}: {spec.name} has no encoders of text; {', '.join(TRIED)} have")
    if "int8" not in pipeline.variants:
        raise UnsupportedError(f"device {profile.name}: takes quantised graphs; leave int8 among variants")
    check_single_file(pipeline, profile)
    target = TextTarget(engine, pipeline, profile, cpu(), (spec,))
    where = taking_text(lead, device)
    led = TextTarget(engine, pipeline, profile, where.cpu, where.runtimes[:1], where.there)
    learnt = taught(led)
    hubs = target.hubs(learnt)
    floats = {name: led.exported(name, hub, led.runtimes)[name] for name, hub in
              ((TEACHER, hubs[OF_TEACHER]), (FLOAT, hubs[""]))}  # fmt: skip
    variants = target.integers(hubs[""], "", learnt.texts)
    if not variants:
        raise UnsupportedError(f"device {profile.name}: {target.not_written['int8']}")
    variants |= target.exported("float", hubs[""], (spec,)) if takes_floats(spec) else {}
    models = variants | target.integers(hubs[OF_TEACHER], OF_TEACHER, learnt.texts)  # it answers nothing: that is slow
    judged = prefixed("model", models | {TEACHER: floats[TEACHER]})
    judged |= prefixed("val", led.evaluated({TEACHER: floats[TEACHER]}, hubs, learnt, "val"))
    judged |= prefixed("val", target.evaluated(variants, hubs, learnt, "val"))
    select = stages.SelectCompiledText(
        budget=pipeline.budget, room=room_of(pipeline, profile), variants=tuple(variants)
    )
    selection = engine.call(stages.SELECT_COMPILED, select, judged, target.at())
    test = led.evaluated(floats, hubs, learnt, "test") | target.evaluated(variants, hubs, learnt, "test")
    told = report.TellCompiledText(
        pipeline=pipeline.name, task=pipeline.task, target=profile.name, lead=lead.name, select=select,
        numerics=spec.numerics, dialect=str(spec.dialect.on(target.cpu)), read=target.read,
        not_written=dict(target.not_written), replayed=tuple(differences) if differences is not None else None,
    )  # fmt: skip
    inputs = judged | prefixed("test", test) | {"selection": selection, "student": learnt.student}
    made = engine.call(report.COMPILED_TEXT, told, inputs | {"texts": learnt.texts}, target.at())
    return TextChain(learnt.texts, learnt.student, hubs[""], target.stock(learnt), None, variants, made)
