"""The learning rate, where several are given: the one that is best on val after a part of the epochs."""

from __future__ import annotations

from collections.abc import Mapping

from edgekd.distill import stages as distill
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact
from edgekd.pipeline import Pipeline


def float_settings(
    engine: Engine, pipeline: Pipeline, inputs: Mapping[str, Result], at: Coordinates | None = None
) -> distill.DistillFloat | None:
    """What the float phase runs with; None while planning, where the rate follows from what is not there yet."""
    settings = distill.of(pipeline.distill, pipeline.preprocess, pipeline.views)
    probe = pipeline.distill.probe
    if probe is None:
        return settings
    at = at or Coordinates()
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
    return settings.model_copy(update={"train": train})
