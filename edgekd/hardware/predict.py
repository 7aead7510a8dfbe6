"""
What a net will take that nobody measured: a sum over its kernels, corrected on whole nets, with an interval.

Kernels after fusion as the unit, and a forest on their features: Zhang et al., "nn-Meter: towards accurate latency
prediction of deep-learning model inference on diverse edge devices" (2021). We depart: what is measured are whole nets
(a hundred at a time, interleaved), so that the cost of each kernel is found by regression and needs no harness that
runs kernels alone; the forest learns only what the sum leaves over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from edgekd.errors import ConfigError
from edgekd.hardware.kernels import Kernel, features, kernels
from edgekd.hardware.latencies import Conditions, LatencyTable
from edgekd.hardware.ranges import Ranges, ranges_of
from edgekd.models.shape import NetShape
from edgekd.settings import Settings
from edgekd.stats import conformal_quantile, fewest_scores

Array = NDArray[np.float64]
CALIBRATION = 0.25  # of the nets
ROUNDS = 8
TREES = 100
HUBER = 0.03  # relative errors above it count by their size, and no longer by its square


class Predicted(Settings):
    """
    Of the least CPU time of a run with warm caches: no median of `edgekd profile` or of a build.

    On two shared x86 cores it was 0.61 to 0.80 of those, and not the same share of every net (docs/measurement.md): it
    ranks, and says which nets to measure. No budget in ms is to be judged by it.
    """

    kind: Literal["predicted"] = "predicted"
    statistic: Literal["least"] = "least"
    latency_ms: float
    low_ms: float
    high_ms: float
    confidence: float  # of nets drawn like those that were measured, the share that lies within


@dataclass(frozen=True)
class KernelSum:
    """`per_unit` of each of `names`, never negative: a time of every kernel, ms."""

    names: tuple[str, ...]
    per_unit: Array
    overhead_ms: float

    def parts(self, rows: Sequence[dict[str, float]]) -> Array:
        """[N, features], ms."""
        return _matrix(rows, self.names) * self.per_unit

    def __call__(self, rows: Sequence[dict[str, float]]) -> Array:
        """[N], ms."""
        return self.overhead_ms + self.parts(rows).sum(1)  # type: ignore[no-any-return]


def kernel_sum(rows: Sequence[dict[str, float]], latencies_ms: Array) -> KernelSum:
    """
    Non-negative least squares of relative errors (Lawson and Hanson 1974, chapter 23), reweighted (Huber 1981).

    A measurement that a neighbour disturbed is a few per cent too long: it is not to bend the others' line.
    """
    names = tuple(sorted({name for row in rows for name, value in row.items() if value}))
    units = np.c_[np.ones(len(rows)), _matrix(rows, names)]
    scale = units.max(0)
    relative = units / scale / latencies_ms[:, None]
    weight = np.ones(len(rows))
    found = np.zeros(len(scale))
    for _ in range(ROUNDS):
        found, _ = nnls(relative * weight[:, None], weight, maxiter=100 * len(scale))
        weight = np.sqrt(HUBER / np.maximum(np.abs(relative @ found - 1), HUBER))
    return KernelSum(names, found[1:] / scale[1:], float(found[0] / scale[0]))


@dataclass(frozen=True)
class Corrected:
    """A sum over kernels, and a forest of its errors' logs."""

    total: KernelSum
    forest: Any  # scikit-learn's, which has no types

    def __call__(self, rows: Sequence[dict[str, float]]) -> Array:
        """[N], ms."""
        return self.total(rows) * np.exp(self.forest.predict(_seen(self.total, rows)))  # type: ignore[no-any-return]


def corrected(rows: Sequence[dict[str, float]], latencies_ms: Array) -> Corrected:
    """
    Extremely randomised trees (Geurts, Ernst, Wehenkel 2006): scikit-learn's, the same for the same table.

    On the log of what the sum is wrong by; from the sum, each kernel kind's share of it, and the features' logs.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    total = kernel_sum(rows, latencies_ms)
    forest = ExtraTreesRegressor(n_estimators=TREES, min_samples_leaf=2, random_state=0, n_jobs=1)
    return Corrected(total, forest.fit(_seen(total, rows), np.log(latencies_ms / total(rows))))


@dataclass(frozen=True)
class Predictor:
    conditions: Conditions
    model: Corrected
    ranges: Ranges
    half: float  # of the interval, as a log ratio
    confidence: float

    def predict(self, shapes: Sequence[NetShape]) -> list[Predicted]:
        """
        One a shape, in their order; many at once are hardly slower than one.

        Raises ConfigError for a shape that has anything beyond what was measured.
        """
        nets = [self._kernels(shape) for shape in shapes]
        for number, net in enumerate(nets, 1):
            if why := self.ranges.why_not(net):
                raise ConfigError(
                    f"prediction of net {number}: {why} ({self.conditions}); calibrate with a space that has it "
                    "(edgekd devices calibrate --space ...), or measure it"
                )
        found = self.model([features(net) for net in nets]) if nets else np.empty(0)
        return [self._told(float(latency_ms)) for latency_ms in found]

    def why_not(self, shape: NetShape) -> str | None:
        """What of this shape is beyond what was measured, or None: a search measures such nets."""
        return self.ranges.why_not(self._kernels(shape))

    def _kernels(self, shape: NetShape) -> tuple[Kernel, ...]:
        return _kernels(shape, self.conditions)

    def _told(self, latency_ms: float) -> Predicted:
        return Predicted(
            latency_ms=latency_ms, low_ms=latency_ms * float(np.exp(-self.half)),
            high_ms=latency_ms * float(np.exp(self.half)), confidence=self.confidence,
        )  # fmt: skip


def fitted(table: LatencyTable, confidence: float = 0.9) -> Predictor:
    """A predictor from a table: the same one for the same table, in about a second."""
    return fit(table.conditions, table.latencies_ms(), confidence)


def fit(
    conditions: Conditions, latencies_ms: Mapping[NetShape, float], confidence: float = 0.9, seed: int = 0
) -> Predictor:
    """
    Split-conformal: of the nets, drawn at random, a quarter is kept from the fit, and a quantile of its absolute log
    errors is the interval, whatever their distribution (Lei et al., "Distribution-free predictive inference for
    regression" 2018, algorithm 2; Angelopoulos and Bates 2021, section 2). It holds for nets drawn from the same
    spaces. Raises ConfigError where there are too few nets.
    """
    if len(latencies_ms) < (fewest := math.ceil(fewest_scores(confidence) / CALIBRATION)):
        raise ConfigError(
            f"{len(latencies_ms)} nets were measured ({conditions}); a {confidence:.0%} interval needs {fewest}: run "
            "edgekd devices calibrate --nets 200, which goes on where it was"
        )
    nets = [_kernels(shape, conditions) for shape in latencies_ms]
    rows, times = [features(net) for net in nets], np.array(list(latencies_ms.values()))
    order = np.random.default_rng(seed).permutation(len(rows))
    kept, rest = np.split(order, [math.ceil(CALIBRATION * len(rows))])
    model = corrected([rows[number] for number in rest], times[rest])
    errors = np.abs(np.log(times[kept] / model([rows[number] for number in kept])))
    return Predictor(conditions, model, ranges_of(nets), conformal_quantile(errors.tolist(), confidence), confidence)


def _kernels(shape: NetShape, where: Conditions) -> tuple[Kernel, ...]:
    return kernels(shape, where.image, where.classes, quantised=where.quantised)


def _seen(total: KernelSum, rows: Sequence[dict[str, float]]) -> Array:
    """What the forest sees, [N, 1 + 2 x features]."""
    latency_ms = total(rows)
    shares = total.parts(rows) / latency_ms[:, None]
    return np.column_stack([np.log(latency_ms), shares, np.log1p(_matrix(rows, total.names))])


def _matrix(rows: Sequence[dict[str, float]], names: Sequence[str]) -> Array:
    """[N, names]."""
    values = [[row.get(name, 0.0) for name in names] for row in rows]
    return np.array(values, np.float64)
