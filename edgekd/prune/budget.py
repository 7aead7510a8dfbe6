"""The best choice under a budget: one option of each, the least error, no more than the cost that is allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

BINS = 4000


def cheapest_errors(
    errors: Sequence[Sequence[float]], costs: Sequence[Sequence[float]], budget: float, bins: int = BINS
) -> list[int] | None:
    """
    The option of each row whose errors add up to the least among those whose costs add up to `budget` at most; None
    where not even the cheapest do. Costs may be negative: what is saved.

    Dynamic programming over the cost in whole bins (Frantar and Alistarh, "SPDY", 2022, section 3.2), each rounded up,
    so that the budget is kept; a choice that meets it by less than a bin for each row may be missed.
    """
    lowest = [min(row) for row in costs]
    room = budget - sum(lowest)
    if room < -1e-12:
        return None
    step = max(room / bins, 1e-12)
    weights = [[math.ceil((cost - low) / step - 1e-9) for cost in row] for row, low in zip(costs, lowest, strict=True)]
    best = np.zeros(bins + 1)
    picks = []
    for row, sizes in zip(errors, weights, strict=True):
        reached = np.full(bins + 1, np.inf)
        pick = np.zeros(bins + 1, np.int32)
        for option, (error, size) in enumerate(zip(row, sizes, strict=True)):
            if size > bins:
                continue
            candidate = np.concatenate([np.full(size, np.inf), best[: bins + 1 - size] + error])
            better = candidate < reached
            reached[better], pick[better] = candidate[better], option
        best = reached
        picks.append((pick, sizes))
    place = int(np.argmin(best))
    chosen = []
    for pick, sizes in reversed(picks):
        option = int(pick[place])
        chosen.append(option)
        place -= sizes[option]
    return chosen[::-1]
