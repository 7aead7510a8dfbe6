"""What is tried before the float phase: in which precision it is faster, and which learning rate is best on val."""

from __future__ import annotations

from collections.abc import Mapping

from edgekd.distill import stages as distill
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact
from edgekd.hardware.profile import load_profile, this_cpu
from edgekd.pipeline import Pipeline


def float_settings(
    engine: Engine, pipeline: Pipeline, inputs: Mapping[str, Result], at: Coordinates | None = None
) -> distill.DistillFloat | None:
    """
    What the float phase runs with; None while planning, where the rate follows from what is not there yet. What is
    tried for a rate is dense: in so few epochs zeros would decide, not the rate.
    """
    settings = distill.of(pipeline.distill, pipeline.preprocess, pipeline.views)
    at, probe = at or Coordinates(), pipeline.distill.probe
    precision = precision_of(engine, pipeline, inputs, at)
    settings = settings.model_copy(update={"train": settings.train.model_copy(update={"precision": precision})})
    sparse = {"sparsity": pipeline.sparsity}
    if probe is None:
        return settings.model_copy(update=sparse)
    epochs = max(1, round(probe.share * settings.train.epochs))
    judged = {}
    for rate in probe.rates:
        short = settings.train.model_copy(update={"learning_rate": rate, "epochs": epochs, "looks": 0})
        here = Coordinates(at.target, at.student, f"rate {rate:g}, {epochs} epochs")
        net = engine.call(distill.FLOAT, settings.model_copy(update={"train": short}), inputs, here)
        judge = distill.Judge(split="val", preprocess=pipeline.preprocess.outside, threads=settings.train.threads)
        judged[f"val.{rate:g}"] = engine.call(distill.JUDGE, judge, {"net": net, "data": inputs["data"]}, here)
    chosen = engine.call(distill.RATE, distill.ChooseRate(rates=probe.rates), judged, at)
    if not isinstance(chosen, Artifact):
        return None
    rate = float(chosen.json("decision.json")["learning_rate"])
    train = settings.train.model_copy(update={"learning_rate": rate})
    return settings.model_copy(update={"train": train} | sparse)


def precision_of(engine: Engine, pipeline: Pipeline, inputs: Mapping[str, Result], at: Coordinates) -> str:
    """Of the float phase; measured only where the CPU has units for bfloat16. float32 while such a trial is planned."""
    asked = pipeline.distill.precision
    device = this_cpu(load_profile("local-cpu"))
    if "student" not in inputs:  # no net of edgekd's, which could be built anew for a trial
        return "float32" if asked == "auto" else asked
    if asked != "auto" or "bf16" not in device.halves:
        return "float32" if asked == "auto" else asked
    plan = distill.TryPrecisions(
        cpu=device, preprocess=pipeline.preprocess.outside, batch=pipeline.distill.batch,
        threads=pipeline.distill.threads,
    )  # fmt: skip
    found = {name: inputs[name] for name in ("data", "student")}
    seen = engine.call(distill.PRECISIONS, plan, found, at)
    chosen = engine.call(distill.PRECISION, distill.ChoosePrecision(), {"precisions": seen}, at)
    return str(chosen.json("decision.json")["precision"]) if isinstance(chosen, Artifact) else "float32"
