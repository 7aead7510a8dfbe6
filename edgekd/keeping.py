"""Targets that are kept: in which form the teacher answers fastest here without answering worse, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekd.deploy import exporter
from edgekd.deploy import stages as deploy
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact
from edgekd.errors import EdgekdError
from edgekd.hardware.here import installed
from edgekd.hardware.profile import load_profile, this_cpu
from edgekd.pipeline import Pipeline
from edgekd.quant import stages as quant
from edgekd.teacher import stages as teacher
from edgekd.teacher.stages import Given, KeptViews

WORTH_MACS = 5e12  # of the teacher over all views: below it, writing and judging its files costs more than they spare
SIZE = "size.json"


def targets_of(
    engine: Engine, pipeline: Pipeline, dataset: Result, master: Result, given: Given | None
) -> Result | None:
    """What the teacher says of a fixed set of views, where that is wanted or cheaper; None: it answers along."""
    plan = pipeline.distill
    kept = plan.kept(pipeline.views)
    if plan.chooses(pipeline.views):
        engine.say(cheaper(plan.epochs, plan.targets.views, kept=kept is not None))
    return None if kept is None else kept_targets(engine, pipeline, dataset, master, given, kept)


def kept_targets(
    engine: Engine, pipeline: Pipeline, dataset: Result, master: Result, given: Given | None, kept: KeptViews
) -> Result:
    """By the fastest form of the teacher, where it has enough to say that one is looked for."""
    settings = teacher.MakeTargets(
        kept=kept, views=pipeline.views, preprocess=pipeline.preprocess.outside, threads=pipeline.distill.threads
    )
    fastest = fastest_form(engine, pipeline, dataset, master, given) if worth(dataset, master, kept) else {}
    return engine.call(teacher.TARGETS, settings, {"data": dataset} | (fastest or {"teacher": master}))


def cheaper(epochs: int, views: int, *, kept: bool) -> str:
    """Which of the two ways to ask the teacher costs it less, and by what."""
    once, along = f"{views} views of each sample once", f"each of {epochs} epochs along with the student"
    one, other = (once, along) if kept else (along, once)
    return f"the teacher answers {one}, which is cheaper than {other}"


def worth(dataset: Result, master: Result, kept: KeptViews) -> bool:
    """Whether the teacher has enough to say that its fastest form is looked for."""
    if not (isinstance(master, Artifact) and isinstance(dataset, Artifact)):
        return False
    about = dataset.json("dataset.json")
    return bool(macs_of(master, about["image"]) * kept.views * about["splits"]["train"] > WORTH_MACS)


def macs_of(master: Artifact, image: Sequence[int]) -> int:
    """Of one image [C, H, W]: noted of a teacher that was given, counted of one that was trained here; 0 of a pool."""
    if master.file(SIZE).is_file():
        return int(master.json(SIZE)["macs"] or 0)
    from edgekd.models import checkpoint, foreign  # torch, which a plan has no need of
    from edgekd.models.residual_cnn import mac_count

    return 0 if foreign.described(master.path) is not None else mac_count(checkpoint.load(master.path).net, image)


def fastest_form(
    engine: Engine, pipeline: Pipeline, dataset: Result, master: Result, given: Given | None
) -> dict[str, Result]:
    """The input of the targets' stage: the net itself, or its file in float or int8. Nothing where none can be made."""
    outside = pipeline.preprocess.outside
    profile = load_profile("local-cpu")
    device, spec = this_cpu(profile), installed(profile)[0]
    graph_of = deploy.TAKE_TEACHER if given is not None and given.kind == "onnx" else deploy.ONNX_FLOAT
    try:
        hub = engine.call(graph_of, deploy.ExportFloat(preprocess=outside), {"checkpoint": master, "data": dataset})
    except EdgekdError:
        return {}  # a net that cannot be exported teaches as it is
    plan = quant.PtqGiven(dialect=spec.dialect.on(device), samples=pipeline.quantize.calibration_images)
    models: dict[str, Result] = {}
    for name in ("float", "int8"):
        at = Coordinates(student="teacher", variant=f"{name}, for targets")
        try:
            graph = hub if name == "float" else engine.call(quant.PTQ_GIVEN, plan, {"hub": hub, "data": dataset}, at)
        except EdgekdError:
            continue  # a graph that cannot be quantised teaches in float
        settings = deploy.Export(runtime=spec, cpu=device, model=str(at), needed=False)
        stage = replace(deploy.EXPORT, uses=(*deploy.EXPORT.uses, *spec.packages))
        made = engine.call(stage, settings, {"hub": graph}, at)
        if exporter.is_written(made):
            models[name] = made
    val = {
        name: engine.call(
            replace(deploy.EVALUATE, uses=(*deploy.EVALUATE.uses, *spec.packages)),
            deploy.Evaluate(split="val", cpu=device), {"model": model, "data": dataset},
            Coordinates(student="teacher", variant=f"{name}, val"),
        )
        for name, model in models.items()
    }  # fmt: skip
    rates = engine.call(
        teacher.RATES, teacher.MeasureRates(preprocess=outside, cpu=device, threads=pipeline.distill.threads),
        {"data": dataset, "teacher": master} | {f"model.{name}": model for name, model in models.items()},
    )  # fmt: skip
    form = engine.call(
        teacher.FORM, teacher.ChooseForm(), {"rates": rates} | {f"val.{name}": said for name, said in val.items()}
    )
    if not isinstance(form, Artifact):
        return {}
    chosen = form.json("decision.json")["form"]
    return {"teacher": master} if chosen == "torch" else {"model": models[chosen]}
