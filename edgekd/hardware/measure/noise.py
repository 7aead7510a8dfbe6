"""How quiet the machine was while it measured."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.hardware.measure.result import Noise

BUSY = 1.25  # wall over CPU time above which something else ran on these cores
STOLEN_PERCENT = 5.0
SPREAD_PERCENT = 15.0
Samples = Sequence[NDArray[np.int64]]  # one row a process, ns


def noise(
    wall: Mapping[str, Samples],
    cpu: Mapping[str, Samples],
    jiffies: tuple[tuple[int, int] | None, tuple[int, int] | None],
    *,
    one_thread: bool,
    throttled: str | None = None,
) -> Noise:
    """From the runs of every model, the time of all cores and the stolen part before and after, what held it back."""
    pairs = [pair for name in wall for pair in zip(wall[name], cpu[name], strict=True)]
    ratios = [float(np.median(w / np.maximum(c, 1))) for w, c in pairs]
    contention = float(np.median(ratios)) if one_thread else None  # CPU time of several threads is not to be compared
    steal = stolen_percent(*jiffies)
    spread = max(spread_percent(rows) for rows in cpu.values())
    reasons = []
    if contention is not None and contention > BUSY:
        reasons.append(f"wall time is {contention:.2f} times CPU time: something else ran on these cores")
    if steal is not None and steal > STOLEN_PERCENT:
        reasons.append(f"the hypervisor took {steal:.0f} % of the time")
    if spread > SPREAD_PERCENT:
        reasons.append(f"the processes' medians differ by {spread:.0f} % (standard deviation)")
    if throttled:
        reasons.append(f"the device was throttled while it measured ({throttled}): cool it, or feed it better")
    return Noise(
        contention=None if contention is None else round(contention, 3),
        steal_percent=None if steal is None else round(steal, 2),
        spread_percent=round(spread, 2),
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        reasons=tuple(reasons),
    )


def spread_percent(rows: Samples) -> float:
    """Standard deviation of the processes' medians, of their mean."""
    medians = [float(np.median(row)) for row in rows]
    return 100 * float(np.std(medians, ddof=1) / np.mean(medians)) if len(medians) > 1 else 0.0


def stolen_percent(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    if before is None or after is None or after[0] <= before[0]:
        return None
    return 100 * (after[1] - before[1]) / (after[0] - before[0])
