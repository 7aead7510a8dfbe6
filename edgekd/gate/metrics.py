"""Metrics of two models on the same samples, and the interval of what changed. A drop is positive when it is worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgekd.errors import ConfigError, DataError
from edgekd.stats import Interval, bootstrap_difference, mcnemar, paired_difference

Array = NDArray[Any]
OF_CLASSES, OF_NUMBERS = ("accuracy", "f1-macro"), ("spearman", "mae", "rmse")
ERRORS = ("mae", "rmse")  # less is better, and a change is a share of the baseline's


@dataclass(frozen=True)
class Judged:
    """Both values, the drop with its 90 % interval (points; percent of the baseline's for errors), the discordant."""

    baseline: float
    candidate: float
    drop: Interval
    unit: str
    lost: int | None = None
    won: int | None = None
    mcnemar_p: float | None = None


def suited(metric: str | None, classes: bool) -> str:
    """The metric that was asked for, or accuracy for labels (`classes`) and rmse for numbers."""
    if metric is None:
        return "accuracy" if classes else "rmse"
    if metric not in (*OF_CLASSES, *OF_NUMBERS):
        raise ConfigError(f"--metric: {metric!r}; one of {', '.join((*OF_CLASSES, *OF_NUMBERS))}")
    if (metric in OF_CLASSES) is not classes:
        wanted = "`labels`" if metric in OF_CLASSES else "`targets`"
        raise ConfigError(f"--metric {metric}: is of {wanted}, and the evaluation set has the other kind")
    return metric


def judge(metric: str, baseline: Array, candidate: Array, targets: Array, resamples: int = 10_000) -> Judged:
    """Outputs of both models, [N, C] or [N], on the samples whose targets [N] are known; all of them finite."""
    answers = classes if metric in OF_CLASSES else numbers
    old, new = (answers(metric, outputs, targets) for outputs in (baseline, candidate))
    if metric == "accuracy":
        return _accuracy(old == targets, new == targets)
    value, truth = VALUES[metric], targets if metric in OF_CLASSES else targets.astype(np.float64)
    before, now = value(old, truth), value(new, truth)
    if metric in ERRORS and before == 0:
        raise ConfigError(f"--metric {metric}: the baseline makes no error at all, so that none is a share of it")
    if not np.isfinite([before, now]).all():
        raise ConfigError(f"--metric {metric}: is not defined where all answers or targets are the same")

    def drop(rows: NDArray[np.intp]) -> float:
        was, is_ = value(old[rows], truth[rows]), value(new[rows], truth[rows])
        return 100 * (is_ - was) / before if metric in ERRORS else 100 * (was - is_)

    interval = bootstrap_difference(drop, len(targets), resamples=resamples)
    return Judged(before, now, interval, "%" if metric in ERRORS else "points")


def classes(metric: str, outputs: Array, labels: Array) -> Array:
    """The class [N] that each sample is given: by the largest of [N, C], or as whole numbers that the model answers."""
    if outputs.ndim == 1 and outputs.dtype.kind in "iu":
        return outputs
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ConfigError(
            f"--metric {metric}: needs [N, C] with two classes at least, or whole numbers [N]; the models answer "
            f"{outputs.dtype} {list(outputs.shape)}. For one number a sample give `targets` instead of `labels`"
        )
    if labels.min() < 0 or labels.max() >= outputs.shape[1]:
        raise DataError(
            f"--data: labels go from {labels.min()} to {labels.max()}, and the models know {outputs.shape[1]} classes, "
            f"which count from 0 to {outputs.shape[1] - 1}"
        )
    return np.asarray(outputs.argmax(1))


def numbers(metric: str, outputs: Array, _targets: Array) -> Array:
    """float64 [N]."""
    flat = outputs[:, 0] if outputs.ndim == 2 and outputs.shape[1] == 1 else outputs
    if flat.ndim != 1:
        raise ConfigError(f"--metric {metric}: needs one number a sample, the models answer {list(outputs.shape)}")
    return flat.astype(np.float64)


def _accuracy(before: NDArray[np.bool_], now: NDArray[np.bool_]) -> Judged:
    change = paired_difference(before, now)
    lost, won = int((before & ~now).sum()), int((~before & now).sum())
    drop = Interval(-change.value, -change.high, -change.low)
    return Judged(100 * before.mean(), 100 * now.mean(), drop, "points", lost, won, mcnemar(lost, won))


def _f1_macro(answers: Array, labels: Array) -> float:
    """The mean over classes of 2 TP / (2 TP + FP + FN); a class that neither side has counts as nothing."""
    size = int(max(answers.max(), labels.max())) + 1
    right = np.bincount(labels[answers == labels], minlength=size)
    both = np.bincount(labels, minlength=size) + np.bincount(answers, minlength=size)
    return float(np.mean(2 * right[both > 0] / both[both > 0]))


def _mae(answers: Array, targets: Array) -> float:
    return float(np.abs(answers - targets).mean())


def _rmse(answers: Array, targets: Array) -> float:
    return float(np.sqrt(np.square(answers - targets).mean()))


def _spearman(answers: Array, targets: Array) -> float:
    """Pearson's correlation of the ranks, ties at their mean: scipy's `spearmanr` without its p, ten times as fast."""
    ranks = stats.rankdata(answers), stats.rankdata(targets)
    if min(np.ptp(rank) for rank in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


VALUES: dict[str, Callable[[Array, Array], float]] = {
    "f1-macro": _f1_macro,
    "mae": _mae,
    "rmse": _rmse,
    "spearman": _spearman,
}
