"""How far predictions are off, of nets that they were not fitted to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import spearmanr

from edgekd.hardware.latencies import LatencyTable
from edgekd.hardware.predict import Predicted, fit
from edgekd.models.shape import NetShape
from edgekd.settings import Settings
from edgekd.stats import Interval, proportion_interval

FOLDS = 5


class Accuracy(Settings):
    """Of `n` architectures, each predicted by a predictor that had not seen it."""

    n: int
    refused: int  # beyond what the other folds have: not predicted, and not in n
    folds: int
    within_10_percent: Interval  # the share of predictions, in percent, with its 95 % interval
    mape_percent: float  # mean absolute error, of what was measured
    worst_percent: float
    spearman: float
    covered_percent: float  # measurements within the interval that was promised
    confidence: float

    def __str__(self) -> str:
        share = self.within_10_percent
        return (
            f"{share.value:.1f} % [{share.low:.1f}, {share.high:.1f}] within 10 %, mean error {self.mape_percent:.1f} "
            f"%, worst {self.worst_percent:.0f} %, Spearman {self.spearman:.4f}, {self.covered_percent:.0f} % in "
            f"{self.confidence:.0%} intervals; n {self.n}, {self.folds} folds of architectures, {self.refused} refused"
        )


def held_out(table: LatencyTable, confidence: float = 0.9, seed: int = 0) -> Accuracy:
    """Cross-validated: architectures are drawn into folds at random, and each fold is predicted from the others."""
    measured = table.latencies_ms()
    order = np.random.default_rng(seed).permutation(len(measured))
    shapes = [list(measured)[number] for number in order]
    found: dict[NetShape, Predicted] = {}
    for fold in range(FOLDS):
        out = frozenset(shapes[fold::FOLDS])
        predictor = fit(table.conditions, {s: ms for s, ms in measured.items() if s not in out}, confidence, seed)
        inside = [shape for shape in shapes[fold::FOLDS] if predictor.why_not(shape) is None]
        found |= zip(inside, predictor.predict(inside), strict=True)
    return accuracy(found, measured, len(measured) - len(found), confidence)


def accuracy(
    found: Mapping[NetShape, Predicted], measured_ms: Mapping[NetShape, float], refused: int, confidence: float
) -> Accuracy:
    truth = np.array([measured_ms[shape] for shape in found])
    latency, low, high = np.array([(p.latency_ms, p.low_ms, p.high_ms) for p in found.values()]).T
    error = np.abs(latency / truth - 1)
    return Accuracy(
        n=len(found),
        refused=refused,
        folds=FOLDS,
        within_10_percent=proportion_interval(int((error <= 0.1).sum()), len(found)),
        mape_percent=100 * float(error.mean()),
        worst_percent=100 * float(error.max()),
        spearman=float(spearmanr(latency, truth).statistic),
        covered_percent=100 * float(((low <= truth) & (truth <= high)).mean()),
        confidence=confidence,
    )
