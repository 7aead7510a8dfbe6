"""What a device takes for the shapes of a study: measured, predicted from its table, or its compiler's estimate."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from edgekd.budget import TEACHER, TEACHER_INT8, Budget
from edgekd.deploy import exporter
from edgekd.engine.events import Progress, Silent
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError
from edgekd.hardware.latencies import conditions, read_table
from edgekd.hardware.measure.compare import Model, model_of
from edgekd.hardware.measure.result import Comparison
from edgekd.hardware.predict import Predictor, fitted
from edgekd.hardware.remote.compare import observed
from edgekd.hardware.specs import CompilerSpec
from edgekd.models.shape import NetShape
from edgekd.search.latency import as_model, estimated_ms
from edgekd.search.space import draw
from edgekd.search.stages import Device, Explore
from edgekd.stats import Interval, conformal_quantile

ANCHORS, FITTED = 20, 8  # nets that are measured before any is predicted, and those that say the factor
DRAWN = 400  # points, among which they are looked for
CONFIDENCE = 0.9


class Seen(NamedTuple):
    p50_ms: Interval
    excess: float  # by what share it misses the budget's limits on latency; 0 and below: it keeps them
    kind: Literal["measured", "predicted", "estimated"]


@dataclass(frozen=True)
class Foretold:
    """A table holds the least times of runs; `factor` makes of them the medians that a build reports."""

    predictor: Predictor
    factor: float
    half: float  # of the interval, as a log ratio

    def p50_ms(self, shapes: Sequence[NetShape]) -> list[Interval]:
        found = [one.latency_ms * self.factor for one in self.predictor.predict(shapes)]
        return [Interval(ms, ms * math.exp(-self.half), ms * math.exp(self.half)) for ms in found]


def anchored(predictor: Predictor, measured_ms: Mapping[NetShape, float]) -> Foretold:
    """
    From nets that were measured as a build measures: the first FITTED say the factor, and a quantile of how far it is
    off the others is the interval (split-conformal, as in hardware/predict.py). Raises ValueError for too few.
    """
    ratios = [
        measured / one.latency_ms
        for measured, one in zip(measured_ms.values(), predictor.predict(list(measured_ms)), strict=True)
    ]
    factor = statistics.median(ratios[:FITTED])
    errors = [abs(math.log(ratio / factor)) for ratio in ratios[FITTED:]]
    return Foretold(predictor, factor, conformal_quantile(errors, CONFIDENCE))


@dataclass
class Timer:
    """One device of a study."""

    settings: Explore
    device: Device
    labels: Sequence[str]
    image: tuple[int, int, int]
    beside: Mapping[str, Model]  # the teacher's files

    @classmethod
    def of(
        cls, settings: Explore, device: Device, labels: Sequence[str], image: tuple[int, int, int],
        inputs: Mapping[str, Artifact],
    ) -> Timer:  # fmt: skip
        names = {base: f"model.{device.name}.{base}" for base in (TEACHER, TEACHER_INT8)}
        files = {base: inputs[name] for base, name in names.items() if name in inputs}
        if isinstance(device.runtime, CompilerSpec):
            return Estimates(settings, device, labels, image, {}, teacher_ms=_estimated_ms(files))
        return cls(settings, device, labels, image, {base: model_of(file, 1) for base, file in files.items()})

    def seen(self, shapes: Mapping[str, NetShape]) -> dict[str, Seen]:
        """Of each by its name; what a table does not reach to is measured."""
        if self.device.table is None:
            return self._measured(shapes)
        foretold, teacher_ms = self._anchored
        inside = {name: shape for name, shape in shapes.items() if foretold.predictor.why_not(shape) is None}
        found = {}
        for name, ms in zip(inside, foretold.p50_ms(list(inside.values())), strict=True):
            # its lower end counts: a build measures what it takes, and what was left out stays out
            over = excess(self.settings.budget, ms.low, {base: own / ms.low for base, own in teacher_ms.items()})
            found[name] = Seen(ms, over, "predicted")
        return found | self._measured({name: shape for name, shape in shapes.items() if name not in inside})

    def _measured(self, shapes: Mapping[str, NetShape]) -> dict[str, Seen]:
        if not shapes:
            return {}
        seen, found = self._compared(shapes), {}
        for name in shapes:
            ms = seen.models[name].latency_p50_ms
            speedups = {base: row[name].value for base, row in seen.speedup_over.items()}
            found[name] = Seen(ms, excess(self.settings.budget, ms.value, speedups), "measured")
        return found

    def _compared(self, shapes: Mapping[str, NetShape]) -> Comparison:
        """These and the teacher's files in the same processes."""
        runtime = self.device.runtime
        assert not isinstance(runtime, CompilerSpec)
        with tempfile.TemporaryDirectory() as folder:
            models = {
                name: as_model(
                    shape, self.labels, self.image, self.settings.preprocess, runtime, self.device.cpu,
                    Path(folder) / name,
                )
                for name, shape in shapes.items()
            }  # fmt: skip
            return self._observed({**self.beside, **models})

    def _observed(self, models: Mapping[str, Model]) -> Comparison:
        device, bases = self.device, tuple(self.beside)
        return observed(models, self.settings.measuring, bases, Progress(Silent()), device.cpu, device.there)

    @cached_property
    def _anchored(self) -> tuple[Foretold, dict[str, float]]:
        """The predictor in this process's medians, and what the teacher's files take; measured once a process."""
        predictor, space = self._predictor(), self.settings.score.space
        generator = np.random.default_rng(self.settings.score.seed)
        drawn = dict.fromkeys(space.shape(draw(space, generator)) for _ in range(DRAWN))
        why = {shape: predictor.why_not(shape) for shape in drawn}
        anchors = [shape for shape in drawn if why[shape] is None][:ANCHORS]
        if len(anchors) < ANCHORS:
            beyond = next((words for words in why.values() if words), "none beyond it: the space is small")
            raise ConfigError(
                f"search.tables.{self.device.name}: its table reaches to {len(anchors)} of {len(drawn)} shapes that "
                f"were drawn, and {ANCHORS} are needed: {beyond}. Calibrate with this space (edgekd devices calibrate "
                "--space), or leave the table out: then all are measured"
            )
        seen = self._compared({str(number): shape for number, shape in enumerate(anchors)})
        took = {shape: seen.models[str(number)].latency_p50_ms.value for number, shape in enumerate(anchors)}
        return anchored(predictor, took), {base: seen.models[base].latency_p50_ms.value for base in self.beside}

    def _predictor(self) -> Predictor:
        assert self.device.table is not None
        assert not isinstance(self.device.runtime, CompilerSpec)
        here = conditions(self.device.cpu, self.device.runtime, self.image, len(self.labels), quantised=True)
        return fitted(read_table(self.device.table.checked(), here), CONFIDENCE)


@dataclass
class Estimates(Timer):
    """Of a device elsewhere, whose compiler says the same of one shape every time."""

    teacher_ms: Mapping[str, float] = field(default_factory=dict)

    def seen(self, shapes: Mapping[str, NetShape]) -> dict[str, Seen]:
        return {name: self._estimated(shape) for name, shape in shapes.items()}

    def _estimated(self, shape: NetShape) -> Seen:
        assert isinstance(self.device.runtime, CompilerSpec)
        ms = estimated_ms(
            shape, self.labels, self.image, self.settings.preprocess, self.device.runtime, self.device.cpu
        )  # fmt: skip
        over = excess(self.settings.budget, ms, {base: own / ms for base, own in self.teacher_ms.items()})
        return Seen(Interval(ms, ms, ms), over, "estimated")


def _estimated_ms(files: Mapping[str, Artifact]) -> dict[str, float]:
    told = {base: exporter.costs(file) for base, file in files.items()}
    return {base: costs.latency_ms for base, costs in told.items() if costs and costs.latency_ms}


def excess(budget: Budget, p50_ms: float, speedups: Mapping[str, float]) -> float:
    """By what share a latency misses the worst of the budget's limits on it; 0 and below: it keeps them."""
    found = [0.0]
    if budget.latency_p50_ms:
        found.append(p50_ms / budget.latency_p50_ms - 1)
    for limit, base in ((budget.speedup_over_teacher, TEACHER), (budget.speedup_over_teacher_int8, TEACHER_INT8)):
        if limit and base in speedups:  # an NPU has no float teacher
            found.append(limit / speedups[base] - 1)
    return max(found)
