"""A search that costs nothing: parameters against multiplications of small nets. Also run as a process of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any

from edgekd.engine.events import Listener, Progress, Silent
from edgekd.models.shape import NetShape, parameters
from edgekd.search.spaces import ResidualCnnSpace, Space
from edgekd.search.studies.plans import Objective, StudyPlan
from edgekd.search.studies.study import explore
from edgekd.search.studies.told import Evaluated, Trial

OBJECTIVES = (Objective("log_parameters", "maximise"), Objective("log_macs", "minimise"))
SMALL = ResidualCnnSpace(
    stem_widths=(8,), stem_strides=(1,), stages=(2,), blocks=(1, 2), inner=(1.0,), width_max=32, width_step=16
)
WIDE = ResidualCnnSpace(stages=(2,), inner=(1.0,))
SPACES = {"exhaustive": SMALL, "nsga2": WIDE, "evolution": WIDE}


def macs(shape: NetShape) -> int:
    side = 32 // shape.stem_stride
    total = side**2 * shape.stem_kernel**2 * 3 * shape.stem_width
    for block in shape.blocks:
        side //= block.stride
        total += side**2 * block.kernel**2 * block.inner * (block.width_in + block.out)
    return total


def values_of(shape: NetShape) -> tuple[float, float]:
    return log(parameters(shape)), log(macs(shape))


def evaluate(shapes: Sequence[NetShape]) -> list[Evaluated]:
    return [Evaluated(values_of(shape), told={"macs": macs(shape)}) for shape in shapes]


def search(
    folder: Path, space: Space = SMALL, do: Any = evaluate, listener: Listener | None = None, **plan: Any
) -> list[Trial]:
    about, fresh = plan.pop("about", None), plan.pop("fresh", False)
    objectives = plan.pop("objectives", OBJECTIVES)
    return explore(
        space, do, objectives, StudyPlan(**plan), folder=folder, name="small", about=about, fresh=fresh,
        progress=Progress(listener or Silent()),
    )  # fmt: skip


def logged(folder: Path, seconds: float, shapes: Sequence[NetShape]) -> list[Evaluated]:
    """Evaluates slowly, and writes down of what and by whom."""
    with (folder / "log").open("a") as file:
        file.write("".join(f"{os.getpid()} {shape.model_dump_json()}\n" for shape in shapes))
    time.sleep(seconds)
    return evaluate(shapes)


if __name__ == "__main__":
    root, sampler, trials, pause_s = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    search(
        root, SPACES[sampler], lambda shapes: logged(root, pause_s, shapes), sampler=sampler, trials=trials, batch=4,
        storage=sys.argv[5] if len(sys.argv) > 5 else None,
    )  # fmt: skip
