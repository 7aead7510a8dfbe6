"""Listeners that print: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from edgekd.engine.events import Outcome
from edgekd.units import duration

EVERY_S = 5.0  # between plain lines of one stage
LONG = (
    "data.load",
    "data.text",
    "teacher.answers",
    "text.distil",
    "text.teach",
    "teacher.train",
    "search.score",
    "search.candidate",
    "distill.float",
    "quant.ptq",
    "quant.qat",
    "onnx.fp32",
    "measure.compare",
)  # fmt: skip  announced before they begin
QUIET_S = 2.0  # a stage that takes less is not worth a plain line of progress


class Watcher:
    """
    Prints what a build does, to stderr.

    A line a stage that ran; cached stages are counted and, with `verbose`, named. While a stage runs: a rich
    status line on a terminal, otherwise a plain line every few seconds.
    """

    def __init__(self, *, verbose: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._verbose = verbose
        self._label = ""
        self._began = self._spoke = 0.0
        self._first: tuple[int, float] | None = None
        self.ran = self.cached = 0
        self._status = None
        if self._stream.isatty():
            from rich.console import Console

            self._status = Console(file=self._stream).status("")

    def __enter__(self) -> Watcher:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._status:
            self._status.stop()

    def started(self, stage: str, at: str) -> None:
        self._label = f"{stage} {at}".strip()
        self._began = self._spoke = time.perf_counter()
        if self._status:
            self._status.update(self._label)

    def running(self, stage: str, at: str) -> None:
        self._first = None
        if not self._status and stage in LONG:
            self._print(f"running  {f'{stage} {at}'.strip()}")

    def progressed(self, done: int, total: int, unit: str, **facts: float) -> None:
        now = time.perf_counter()
        if self._first is None:
            self._first = (done, now)  # not the stage's beginning: that is imports, or an earlier run's epochs
        line = f"{self._label}: {_told(done, total, unit, facts)}"
        if begun := done - self._first[0]:
            line += f", {duration((now - self._first[1]) / begun * (total - done))} left"
        if self._status:
            self._status.update(line)
        elif now - self._began > QUIET_S and now - self._spoke > EVERY_S:
            self._spoke = now
            self._print(line)

    def finished(self, stage: str, at: str, outcome: Outcome, seconds: float) -> None:
        if outcome == "cached":
            self.cached += 1
        else:
            self.ran += 1
        if outcome != "cached" or self._verbose:
            self._print(f"{outcome:8} {f'{stage} {at}'.strip():44} {duration(seconds) if outcome == 'ran' else ''}")

    def said(self, sentence: str) -> None:
        self._print(sentence)

    def _print(self, line: str) -> None:
        if self._status:
            self._status.console.print(line.rstrip(), markup=False, highlight=False)
        else:
            print(line.rstrip(), file=self._stream, flush=True)


def _told(done: int, total: int, unit: str, facts: dict[str, float]) -> str:
    parts = [f"{unit} {done} of {total}"]
    parts += [f"{name.replace('_per_s', '/s')} {value:.4g}" for name, value in facts.items()]
    return ", ".join(parts)
