"""Metrics of two models on the same samples, and the interval of what changed. A drop is positive when it is worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgekd.errors import ConfigError
from edgekd.stats import Interval, bootstrap_difference, mcnemar, paired_difference

Array = NDArray[Any]
RESAMPLES = 2000  # the ends of an interval then wobble by a few percent of its width
METRICS = ("accuracy", "f1-macro", "spearman", "mae", "rmse")


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


def suited(metric: str | None, targets: Array, outputs: Array) -> str:
    """The metric that was asked for, or accuracy for labels and rmse for numbers."""
    if metric is None:
        return "accuracy" if targets.dtype.kind in "iu" else "rmse"
    if metric not in METRICS:
        raise ConfigError(f"--metric: {metric!r}; one of {', '.join(METRICS)}")
    if metric in ("accuracy", "f1-macro") and (targets.dtype.kind not in "iu" or outputs.ndim != 2):
        raise ConfigError(
            f"--metric {metric}: needs whole numbers as labels and [N, C] outputs, got {targets.dtype} and "
            f"{list(outputs.shape)}"
        )
    return metric


def judge(metric: str, baseline: Array, candidate: Array, targets: Array) -> Judged:
    """Outputs [N, C] or [N] of both models on the samples whose targets [N] are known."""
    if metric == "accuracy":
        return _accuracy(baseline.argmax(1) == targets, candidate.argmax(1) == targets)
    value = VALUES[metric]
    old, new = (_answers(metric, outputs) for outputs in (baseline, candidate))
    before, now = value(old, targets), value(new, targets)
    is_error = metric in ("mae", "rmse")
    if is_error and before == 0:
        raise ConfigError(f"--metric {metric}: the baseline makes no error at all, so that none is a share of it")

    def drop(rows: NDArray[np.intp]) -> float:
        was, is_ = value(old[rows], targets[rows]), value(new[rows], targets[rows])
        return 100 * (is_ / was - 1) if is_error else 100 * (was - is_)

    interval = bootstrap_difference(drop, len(targets), resamples=RESAMPLES)
    return Judged(before, now, interval, "%" if is_error else "points")


def _accuracy(before: NDArray[np.bool_], now: NDArray[np.bool_]) -> Judged:
    change = paired_difference(before, now)
    lost, won = int((before & ~now).sum()), int((~before & now).sum())
    drop = Interval(-change.value, -change.high, -change.low)
    return Judged(100 * before.mean(), 100 * now.mean(), drop, "points", lost, won, mcnemar(lost, won))


def _answers(metric: str, outputs: Array) -> Array:
    if metric == "f1-macro":
        return np.asarray(outputs.argmax(1))
    if outputs.ndim == 2 and outputs.shape[1] == 1:
        return outputs[:, 0]
    if outputs.ndim != 1:
        raise ConfigError(f"--metric {metric}: needs one number a sample, the models answer {list(outputs.shape)}")
    return outputs


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
    return float(np.corrcoef(stats.rankdata(answers), stats.rankdata(targets))[0, 1])


VALUES: dict[str, Callable[[Array, Array], float]] = {
    "f1-macro": _f1_macro,
    "mae": _mae,
    "rmse": _rmse,
    "spearman": _spearman,
}
