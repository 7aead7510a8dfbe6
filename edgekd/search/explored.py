"""A study whose shapes are scored, bounded, and measured on the devices, batch by batch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from edgekd.data.dataset import Dataset
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import BudgetError
from edgekd.models.shape import NetShape
from edgekd.search.choose import over_bounds
from edgekd.search.limits import broken, unwritten
from edgekd.search.score import scored, shown_to_all
from edgekd.search.scores.plugins import Shown
from edgekd.search.stages import Explore
from edgekd.search.studies.plans import Objective
from edgekd.search.studies.study import explore
from edgekd.search.studies.told import Evaluated, Trial, shape_key
from edgekd.search.timing import Seen, Timer


def run(settings: Explore, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.score.threads)
    shown, teacher = shown_to_all(settings.score, inputs)
    bench = _Bench(settings, inputs, shown, teacher)
    trials = explore(
        settings.score.space, bench.evaluate, objectives(settings), settings.plan, folder=work.scratch,
        name=settings.name, progress=work.progress, about=about(settings, inputs),
    )  # fmt: skip
    measured = [trial for trial in trials if trial.found.values is not None]
    if not measured:
        raise BudgetError(
            f"search: none of {len(trials)} shapes of the study keeps the bounds of budget and device; the last one: "
            f"{trials[-1].found.told['why']}; loosen the budget or widen search.space"
        )
    rows = [told(trial) for trial in measured]
    answer = {"schema": 1, "teacher": teacher, "image": shown.image, "tried": len(trials), "candidates": rows}
    (work.out / "scores.json").write_text(json.dumps(answer, indent=1), "utf-8")


def about(settings: Explore, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """What results depend on, so that no study takes another's: neither threads nor how many a sample would have."""
    left_out: Any = {"plan": True, "score": {"threads", "candidates"}, "devices": {"__all__": {"table": {"path"}}}}
    said: dict[str, Any] = json.loads(settings.model_dump_json(exclude=left_out))
    return said | {"inputs": {name: artifact.digest for name, artifact in inputs.items()}}


def objectives(settings: Explore) -> list[Objective]:
    """The score, each device's latency, and the size as int8."""
    latencies = [Objective(f"latency_p50_ms.{device.name}", "minimise") for device in settings.devices]
    first = Objective(settings.score.scores[0], "maximise")
    size = [] if first.name == "params" else [Objective("params", "minimise")]  # one number has one direction
    return [first, *latencies, *size]


def told(trial: Trial) -> dict[str, Any]:
    """
    A candidate, as the stages after this one read them. Its name is its shape's: of a study that a lock's replay runs
    anew the numbers are other shapes'.
    """
    return {"id": f"t{shape_key(trial.shape)[:8]}", "shape": trial.shape.model_dump(mode="json"), **trial.found.told}


class _Bench:
    """Where a batch is scored and measured."""

    def __init__(
        self, settings: Explore, inputs: Mapping[str, Artifact], shown: Shown, teacher: Mapping[str, Any]
    ) -> None:
        self.settings, self.shown, self.teacher = settings, shown, teacher
        labels = Dataset(inputs["data"]).labels
        self.timers = {
            device.name: Timer.of(settings, device, labels, shown.image, inputs) for device in settings.devices
        }

    def evaluate(self, shapes: Sequence[NetShape]) -> list[Evaluated]:
        each = [scored(shape, self.shown, self.settings.score) for shape in shapes]
        why = [self._bounded(shape, row["scores"]) for shape, row in zip(shapes, each, strict=True)]
        bounded = {str(number): shape for number, shape in enumerate(shapes) if not why[number]}
        seen = {name: timer.seen(bounded) for name, timer in self.timers.items()}
        return [
            Evaluated(None, (1.0,), {**row, "why": why[number]})
            if why[number]
            else self._evaluated(row, {device: found[str(number)] for device, found in seen.items()})
            for number, row in enumerate(each)
        ]

    def _bounded(self, shape: NetShape, scores: Mapping[str, Any]) -> str:
        """Why this shape is not measured: it breaks all limits, or cannot be written for one; empty where it is."""
        never = next((why for d in self.settings.devices if (why := unwritten(shape, d.runtime.exporter))), "")
        reasons = [broken(shape, self.shown.image, device.limits, scores["params"]) for device in self.settings.devices]
        bounds = over_bounds({"scores": scores}, self.teacher, self.settings.budget)
        return never or (reasons[0] if all(reasons) else "") or bounds

    def _evaluated(self, row: Mapping[str, Any], seen: Mapping[str, Seen]) -> Evaluated:
        scores = row["scores"]
        score = scores[self.settings.score.scores[0]]
        score = -math.inf if score is None else score  # not defined for this shape: the worst there is
        latencies = [found.p50_ms.value for found in seen.values()]
        values = (score, *latencies, scores["params"])[: len(objectives(self.settings))]
        more = {
            "latency_p50_ms": {device: list(found.p50_ms) for device, found in seen.items()},
            "latency_kind": {device: found.kind for device, found in seen.items()},
            "keeps": {device: found.excess <= 0 for device, found in seen.items()},
        }
        least = min(found.excess for found in seen.values())
        return Evaluated(tuple(map(float, values)), (least,), {**row, **more})
