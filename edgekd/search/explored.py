"""A study whose shapes are scored, bounded, and measured on the devices, batch by batch."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from edgekd.budget import TEACHER, TEACHER_INT8, Budget
from edgekd.data.dataset import Dataset
from edgekd.engine.events import Progress, Silent
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import BudgetError
from edgekd.hardware.measure.compare import Model, model_of, observe
from edgekd.hardware.measure.result import Comparison
from edgekd.models.shape import NetShape
from edgekd.search.choose import over_bounds
from edgekd.search.latency import as_model
from edgekd.search.limits import broken
from edgekd.search.score import scored, shown_to_all
from edgekd.search.scores.plugins import Shown
from edgekd.search.stages import Device, Explore
from edgekd.search.studies.plans import Objective
from edgekd.search.studies.study import explore
from edgekd.search.studies.told import Evaluated, Trial


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
    left_out: Any = {"plan": True, "score": {"threads", "candidates"}}
    said: dict[str, Any] = json.loads(settings.model_dump_json(exclude=left_out))
    return said | {"inputs": {name: artifact.digest for name, artifact in inputs.items()}}


def objectives(settings: Explore) -> list[Objective]:
    """The score, each device's latency, and the size as int8."""
    latencies = [Objective(f"latency_p50_ms.{device.name}", "minimise") for device in settings.devices]
    first = Objective(settings.score.scores[0], "maximise")
    size = [] if first.name == "params" else [Objective("params", "minimise")]  # one number has one direction
    return [first, *latencies, *size]


def told(trial: Trial) -> dict[str, Any]:
    """A candidate, as the stages after this one read them."""
    return {"id": f"t{trial.number:04d}", "shape": trial.shape.model_dump(mode="json"), **trial.found.told}


class _Bench:
    """Where a batch is scored and measured."""

    def __init__(
        self, settings: Explore, inputs: Mapping[str, Artifact], shown: Shown, teacher: Mapping[str, Any]
    ) -> None:
        self.settings, self.shown, self.teacher = settings, shown, teacher
        self.labels = Dataset(inputs["data"]).labels
        self.beside = {
            device.name: {base: model_of(inputs[f"model.{device.name}.{base}"], 1) for base in (TEACHER, TEACHER_INT8)}
            for device in settings.devices
        }

    def evaluate(self, shapes: Sequence[NetShape]) -> list[Evaluated]:
        each = [scored(shape, self.shown, self.settings.score) for shape in shapes]
        why = [self._bounded(shape, row["scores"]) for shape, row in zip(shapes, each, strict=True)]
        seen = {device.name: self._measured(device, shapes, why) for device in self.settings.devices}
        return [self._evaluated(number, row, why[number], seen) for number, row in enumerate(each)]

    def _bounded(self, shape: NetShape, scores: Mapping[str, Any]) -> str:
        """Why this shape is not measured on any of the devices; empty where it is."""
        reasons = [broken(shape, self.shown.image, device.limits, scores["params"]) for device in self.settings.devices]
        bounds = over_bounds({"scores": scores}, self.teacher, self.settings.budget)
        return (reasons[0] if all(reasons) else "") or bounds

    def _measured(self, device: Device, shapes: Sequence[NetShape], why: Sequence[str]) -> Comparison | None:
        """The batch and the teacher's files in the same processes; None where nothing of it is measured."""
        with tempfile.TemporaryDirectory() as folder:
            models: dict[str, Model] = {}
            for number, shape in enumerate(shapes):
                if not why[number]:
                    models[str(number)] = as_model(
                        shape, self.labels, self.shown.image, self.settings.preprocess, device.runtime, device.cpu,
                        Path(folder) / str(number),
                    )  # fmt: skip
            if not models:
                return None
            beside = self.beside[device.name]
            return observe(beside | models, self.settings.measuring, tuple(beside), Progress(Silent()))

    def _evaluated(
        self, number: int, row: Mapping[str, Any], why: str, seen: Mapping[str, Comparison | None]
    ) -> Evaluated:
        if why:
            return Evaluated(None, (1.0,), {**row, "why": why})
        name, scores = str(number), row["scores"]
        latencies = {device: found.models[name].latency_p50_ms for device, found in seen.items() if found}
        over = {device: excess(self.settings.budget, found, name) for device, found in seen.items() if found}
        score = scores[self.settings.score.scores[0]]
        score = -math.inf if score is None else score  # not defined for this shape: the worst there is
        values = (score, *(ms.value for ms in latencies.values()), scores["params"])[: len(objectives(self.settings))]
        more = {
            "latency_p50_ms": {device: list(ms) for device, ms in latencies.items()},
            "keeps": {device: share <= 0 for device, share in over.items()},
        }
        return Evaluated(tuple(map(float, values)), (min(over.values()),), {**row, **more})


def excess(budget: Budget, seen: Comparison, name: str) -> float:
    """By what share a candidate misses the worst of the budget's limits on latency; 0 and below: it keeps them."""
    found = [0.0]
    if budget.latency_p50_ms:
        found.append(seen.models[name].latency_p50_ms.value / budget.latency_p50_ms - 1)
    for limit, base in ((budget.speedup_over_teacher, TEACHER), (budget.speedup_over_teacher_int8, TEACHER_INT8)):
        if limit:
            found.append(limit / seen.speedup_over[base][name].value - 1)
    return max(found)
