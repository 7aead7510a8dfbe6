"""How good embeddings are, and how like their teacher's: pure functions of numpy arrays [N, D]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgekd.stats import Interval, bootstrap_difference

Array = NDArray[Any]
RESAMPLES = 2_000
PAIRS = 20_000  # of texts, that fidelity looks at


def cosines(a: Array, b: Array) -> Array:
    """Of each pair of rows, [N]; 0 where one of them is no direction."""
    sizes = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(1) / np.where(sizes > 0, sizes, 1))


def spearman(first: Array, second: Array) -> float:
    """The correlation of ranks of two rows of numbers [N]; 0 where one of them is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.spearmanr(first, second).statistic)


def recall(queries: Array, documents: Array, wanted: Array, k: int) -> Array:
    """Whether document `wanted` [N] is among the `k` nearest of all, by cosine, of each query [N]: bool [N]."""
    scores = _unit(queries) @ _unit(documents).T
    own = scores[np.arange(len(queries)), wanted]
    return np.asarray((scores > own[:, None]).sum(1) < k)


def fidelity(student: Array, teacher: Array, seed: int = 0) -> dict[str, float]:
    """
    The mean cosine of the student's embedding with its teacher's, and the Spearman correlation of what both say of
    how alike pairs of texts are: of all pairs, or of so many drawn ones. The second asks for no common space.
    """
    first, second = np.triu_indices(len(student), 1)
    if len(first) > PAIRS:
        chosen = np.random.default_rng(seed).choice(len(first), PAIRS, replace=False)
        first, second = first[chosen], second[chosen]
    own, theirs = (cosines(x[first], x[second]) for x in (student, teacher))
    found = {"similarity_spearman": spearman(own, theirs)}
    if student.shape == teacher.shape:
        found["cosine"] = float(cosines(student, teacher).mean())
    return found


def with_interval(metric: Callable[[NDArray[np.intp]], float], n: int, confidence: float = 0.95) -> Interval:
    """A metric of rows [N] with its percentile bootstrap interval over the N samples (Efron 1979)."""
    return bootstrap_difference(metric, n, confidence, RESAMPLES)


def spearman_interval(found: Array, wanted: Array) -> Interval:
    return with_interval(lambda rows: spearman(found[rows], wanted[rows]), len(found))


def _unit(x: Array) -> Array:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
