"""
Building a device's table of latencies: nets of its spaces, batch by batch, in fresh processes, again and again.

The passes over all batches are minutes apart, since a neighbour may slow a core down for longer than one process runs.
After every process the table is written: what was measured is kept, whatever happens next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edgekd.data.stages import Preprocess
from edgekd.engine.events import Progress
from edgekd.hardware.latencies import YARDSTICK, Batch, Conditions, LatencyTable
from edgekd.hardware.measure.compare import WORKER, Model, looks_of, request
from edgekd.hardware.measure.process import Launch, launch
from edgekd.hardware.measure.result import Conditions as Held
from edgekd.hardware.measure.result import Look
from edgekd.hardware.profile import Measuring
from edgekd.models.shape import NetShape
from edgekd.search.latency import as_model

PASSES = 3  # processes that measure each net
TRIED = 4  # nets of the quick trial
MEASURING = Measuring(processes=2, openings=2, rounds=50, time_s=20.0, warmup_runs=5)
Clock = Callable[[], float]
Least = Callable[[Sequence[NetShape], int], list[float]]  # of shapes and a seed, what each took at least, ms


class InProcesses:
    """Least CPU times (wall times with more threads) in one fresh process; the files stay in `folder`."""

    def __init__(self, conditions: Conditions, folder: Path, run_process: Launch | None = None) -> None:
        self.conditions, self.folder = conditions, folder
        self.run_process = run_process or launch(WORKER)  # else one of a device elsewhere
        self.models: dict[NetShape, Model] = {}
        self.looks: list[Look] = []  # at the device, at the end of each process

    def __call__(self, shapes: Sequence[NetShape], seed: int) -> list[float]:
        models = {f"net{number}": self._model(shape) for number, shape in enumerate(shapes)}
        clock = "cpu" if self.conditions.runtime.threads == 1 else "wall"
        answer = self.run_process(request(models, MEASURING, seed))
        self.looks += looks_of([answer])
        return [min(min(opening) for opening in answer[name][clock]) / 1e6 for name in models]

    @property
    def seen(self) -> Held | None:
        """How the device was from the first process to the last; None before any has run."""
        return Held(before=self.looks[0], during=tuple(self.looks), after=self.looks[-1]) if self.looks else None

    def _model(self, shape: NetShape) -> Model:
        if shape not in self.models:
            where, folder = self.conditions, self.folder / str(len(self.models))
            prepared = Preprocess(mean=(0.5,) * where.image[0], std=(0.25,) * where.image[0])
            labels = [str(number) for number in range(where.classes)]
            made = as_model(
                shape, labels, where.image, prepared, where.runtime, where.device, folder, quantised=where.quantised
            )
            self.models[shape] = Model(made.path, made.runtime, made.inputs, primed=True)
        return self.models[shape]


def estimated_s(
    table: LatencyTable, passes: int, least: Least, clock: Callable[[], float] = time.perf_counter
) -> float:
    """What is still to be measured takes so long, from a trial of a few of its nets in two processes."""
    left = [table.batches[batch] for _, batch in table.due(passes)]
    few = [net.shape for batch in left for net in batch.nets][:TRIED]
    if not few:
        return 0.0
    seconds = []
    for shapes in ((YARDSTICK,), (YARDSTICK, *few)):
        start = clock()
        least(shapes, 0)
        seconds.append(clock() - start)
    each = max(seconds[1] - seconds[0], 0.0) / len(few)
    return len(left) * seconds[0] + each * sum(len(batch.nets) for batch in left)


def calibrated(table: LatencyTable, passes: int, path: Path, least: Least, progress: Progress) -> LatencyTable:
    """The table with everything that was due; written to `path` after each process."""
    todo = list(table.due(passes))
    for seed, number in progress.over(todo, len(todo), "process"):
        table = table.with_batch(number, measured(table.batches[number], least, 1000 * seed + number))
        table.save(path)
    return table


def measured(batch: Batch, least: Least, seed: int) -> Batch:
    yardstick_ms, *times_ms = least((YARDSTICK, *(net.shape for net in batch.nets)), seed)
    return batch.with_process(yardstick_ms, tuple(times_ms))
