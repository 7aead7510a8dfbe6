"""A build for a device that is compiled for here and runs elsewhere: the student of a target that is here."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.advice import advice
from edgekd.budget import TEACHER
from edgekd.chain import Chain, classes_of, taught
from edgekd.deploy import stages as deploy
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.errors import UnsupportedError
from edgekd.hardware.here import takes_floats
from edgekd.hardware.profile import DeviceProfile
from edgekd.pipeline import Pipeline
from edgekd.report import stages as report
from edgekd.target import Target, prefixed
from edgekd.tasks import AnyPipeline


def elsewhere(
    engine: Engine,
    pipeline: Pipeline,
    profile: DeviceProfile,
    lead: DeviceProfile,
    differences: Sequence[str] | None = None,
    device: str | None = None,
) -> Chain:
    """
    One device's build: the student that was searched for and trained on `lead`, which is here, quantised in the
    device's own dialect and compiled. The float student and the teacher answer in the lead's first runtime.
    """
    assert profile.compiler is not None
    led, target = Target.of(engine, pipeline, lead, device), Target.elsewhere(engine, pipeline, profile)
    spec, here = target.runtime, target.at()
    learnt = taught(led)
    sought, student = learnt.sought, learnt.student
    dataset = sought.dataset
    hub = led.hub(student, dataset, "fp32")
    floats = led.export(hub, led.at("fp32"), led.runtime)
    val = {
        TEACHER: led.evaluate(sought.models[TEACHER], dataset, "val", TEACHER),
        "fp32": led.evaluate(floats, dataset, "val", "fp32"),
    }
    variants: dict[str, Result] = {}
    precision = target.int8(student, learnt.tutor, dataset, target.dialect, (spec,), variants, val)
    if precision is None:
        why = target.not_written.get("int8", "its exporter cannot write this student as int8")
        raise UnsupportedError(f"device {profile.name}: {why}")
    if takes_floats(spec):
        variants |= target.written("float", hub, (spec,))
        val |= {name: target.evaluate(variants[name], dataset, "val", name) for name in variants if name == "float"}
    # it answers nothing here: interpreters and simulators take minutes to hours for a large net's answers
    models = variants | target.teachers_estimate(sought.master, sought.given, dataset)
    select = deploy.SelectCompiled(budget=pipeline.budget, room=room_of(pipeline, profile), variants=tuple(variants))
    judged = prefixed("model", models | {TEACHER: sought.models[TEACHER]}) | prefixed("val", val)
    selection = engine.call(deploy.SELECT_COMPILED, select, judged, here)
    test = {TEACHER: led.evaluate(sought.models[TEACHER], dataset, "test", TEACHER)}
    test |= {"fp32": led.evaluate(floats, dataset, "test", "fp32")}
    test |= {name: target.evaluate(model, dataset, "test", name) for name, model in variants.items()}
    told = engine.call(
        report.COMPILED,
        report.TellCompiled(
            pipeline=pipeline.name, target=profile.name, lead=lead.name, select=select,
            numerics=profile.compiler.numerics, dialect=str(target.dialect), not_written=target.not_written,
            replayed=tuple(differences) if differences is not None else None,
            advice=tuple(advice(pipeline, classes_of(dataset))),
        ),
        judged | prefixed("test", test) | {"selection": selection, "precision": precision, "student": student},
        here,
    )  # fmt: skip
    return Chain(dataset, models, told)


def lead_of(profiles: Sequence[DeviceProfile], fallback: DeviceProfile) -> DeviceProfile:
    """Whose student devices elsewhere take: the first target's that is here, else `fallback`'s."""
    return next((profile for profile in profiles if profile.compiler is None), fallback)


def room_of(pipeline: AnyPipeline, profile: DeviceProfile) -> deploy.Room:
    """What the device has for a model, and the budget where it asks for less."""
    ram_mib = profile.hardware.ram_mib if profile.kind == "mcu" else None  # others have memory of their own kind
    has = {"flash_kib": profile.hardware.flash_kib, "ram_kib": None if ram_mib is None else 1024 * ram_mib}
    asked = {"flash_kib": pipeline.budget.flash_kib, "ram_kib": pipeline.budget.ram_kib}
    least = {name: min((one for one in (has[name], asked[name]) if one is not None), default=None) for name in has}
    return deploy.Room(**least)
