"""What nothing is better than, and how much of the space of objectives it covers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.search.studies.plans import Direction

Array = NDArray[np.float64]


def feasible(constraints: Sequence[float]) -> bool:
    """A constraint is kept at 0 and below, as Optuna has it."""
    return all(value <= 0 for value in constraints)


def front(rows: Sequence[Sequence[float]], directions: Sequence[Direction]) -> list[int]:
    """
    The places of the rows that no other row dominates: is as good in every objective and better in one.

    Equal rows don't dominate each other, so all of them are there. Rows that break a constraint are the caller's to
    leave out.
    """
    if not rows:
        return []
    costs = _costs(rows, directions)
    no_worse = (costs[:, None] <= costs[None]).all(axis=2)
    better = (costs[:, None] < costs[None]).any(axis=2)
    return [int(place) for place in np.flatnonzero(~(no_worse & better).any(axis=0))]


def hypervolume(rows: Sequence[Sequence[float]], directions: Sequence[Direction], reference: Sequence[float]) -> float:
    """
    The volume that the rows dominate, bounded by the reference, in the product of the objectives' units.

    Exact, by slicing objectives: While, Hingston, Barone and Huband, "A faster algorithm for calculating hypervolume"
    (2006), section III, without its reordering of objectives: fronts of hundreds in two to four objectives need
    none. A row that is not better than the reference in every objective adds nothing.
    """
    if not rows:
        return 0.0
    bound = _costs([reference], directions)[0]
    costs = _costs(rows, directions)
    return _sliced(costs[(costs < bound).all(axis=1)], bound)


def _costs(rows: Sequence[Sequence[float]], directions: Sequence[Direction]) -> Array:
    """[rows, objectives], less is better."""
    sign = np.array([-1.0 if direction == "maximise" else 1.0 for direction in directions])
    costs: Array = np.asarray(rows, np.float64) * sign
    return costs


def _sliced(costs: Array, bound: Array) -> float:
    if not len(costs):
        return 0.0
    if costs.shape[1] == 1:
        return float(bound[0] - costs.min())
    costs = costs[np.argsort(costs[:, -1], kind="stable")]
    depths = np.diff(np.append(costs[:, -1], bound[-1]))
    return float(sum(d * _sliced(costs[: end + 1, :-1], bound[:-1]) for end, d in enumerate(depths) if d > 0))
