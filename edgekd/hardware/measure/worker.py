"""
One fresh process of a comparison: all models in random order, round by round.

It imports the runtimes, numpy and pydantic, never torch: a second library's threads would be measured with them.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.errors import ConfigError
from edgekd.hardware.inputs import random_feeds, read_feeds
from edgekd.hardware.measure.counters import Instructions
from edgekd.hardware.measure.process import serve
from edgekd.hardware.runtime import CLASSES, Array, Session, Tensor, open_session
from edgekd.hardware.specs import Runnable, read_runnable
from edgekd.hardware.sysfs import look

BLOCK = 5  # runs of warm-up whose median is compared with the block before
SETTLED = 0.02
ENOUGH_ROUNDS = 25  # a process: fewer make its ratio too uncertain, whatever they cost


@dataclass(frozen=True)
class Clock:
    wall_ns: Callable[[], int]
    cpu_ns: Callable[[], int]


THREAD = Clock(time.perf_counter_ns, time.thread_time_ns)
PROCESS = Clock(time.perf_counter_ns, time.process_time_ns)  # for runtimes with threads of their own


@dataclass(frozen=True)
class Subject:
    """
    A model that is open and fed.

    `slowdown` waits, busily, for that share of each run: benchmarks of the gate. `primed` runs it once before the
    clock starts, so that what ran in between has not emptied its caches.
    """

    session: Session
    feeds: dict[str, Array]
    slowdown: float = 0.0
    tick_ns: float = 0.0  # what a look at the clock takes
    primed: bool = False

    def once(self, clock: Clock) -> tuple[int, int]:
        """Wall and CPU time of one inference, ns."""
        if self.primed:
            self.session.run(self.feeds)
        cpu, wall = clock.cpu_ns(), clock.wall_ns()
        self.session.run(self.feeds)
        if self.slowdown:
            now = clock.cpu_ns()
            until = now + self.slowdown * (now - cpu) - 1.5 * self.tick_ns  # looks are late by half of one on average
            while clock.cpu_ns() < until:
                pass
        return clock.wall_ns() - wall, clock.cpu_ns() - cpu


def measure(request: dict[str, Any], clock: Clock | None = None) -> dict[str, Any]:
    """Wall and CPU times in ns, by model name and opening, one a round; and what the first start took."""
    keep_to(request.get("affinity"))
    clock = clock or (THREAD if request["threads"] == 1 else PROCESS)
    answer: dict[str, dict[str, Any]] = {name: {"wall": [], "cpu": []} for name in request["models"]}
    for opening in range(request["openings"]):
        subjects: dict[str, Subject] = {}
        for name in opening_order(list(request["models"]), request["seed"], opening):
            subjects[name], started = opened(request["models"][name], request["seed"], clock)
            answer[name] = started | answer[name]  # the first start is the one that is told
        for name, subject in subjects.items():
            runs = again(subject) if opening else warm_up(subject, clock, request["warmup_runs"], request["time_s"])
            answer[name].setdefault("warmup_runs", runs)
        for name, times in _rounds(subjects, clock, request).items():
            answer[name]["wall"].append([wall for wall, _ in times])
            answer[name]["cpu"].append([cpu for _, cpu in times])
        now = look()  # while the cores are still as warm and as fast as they were
        for name in subjects:
            answer[name].setdefault("looks", []).append(now)
        for name, subject in subjects.items():
            if "instructions" not in answer[name]:
                answer[name]["instructions"] = count_instructions(subject) if request["threads"] == 1 else None
            subject.session.close()
    return answer


def keep_to(cores: list[int] | None) -> None:
    try:
        if cores:
            os.sched_setaffinity(0, cores)
    except (OSError, AttributeError) as error:
        raise ConfigError(f"affinity {cores}: this process cannot keep to these cores: {error}") from error


def load_runtime(spec: Runnable) -> None:
    """Its own import is no part of loading a model; a runtime that is missing is told when the model is opened."""
    with suppress(ImportError):
        import_module(CLASSES[spec.name][0])


def opening_order(names: list[str], seed: int, opening: int) -> list[str]:
    """
    At random, and in the next opening the other way round.

    Which model is opened first decides where its memory lies: up to 3 % of a six-layer transformer's time here.
    """
    order = [names[number] for number in np.random.default_rng(seed).permutation(len(names))]
    return order[::-1] if opening % 2 else order


def opened(model: dict[str, Any], seed: int, clock: Clock) -> tuple[Subject, dict[str, Any]]:
    """Open a model and run it once: the subject, and what both took."""
    path, spec = Path(model["path"]), read_runnable(model["runtime"])
    load_runtime(spec)
    start = clock.wall_ns()
    session = open_session(path, spec)
    load_ns = clock.wall_ns() - start
    if model.get("data"):
        feeds = read_feeds(Path(model["data"]), path.name, session.describe())
    else:
        inputs = {name: Tensor(name, dtype, tuple(shape)) for name, (dtype, shape) in model["inputs"].items()}
        feeds = random_feeds(inputs, seed)
    subject = Subject(session, feeds, model.get("slowdown", 0.0), tick_ns(clock))
    started = {"load_ns": load_ns, "first_ns": subject.once(clock)[0]}
    return replace(subject, primed=model.get("primed", False)), started


def tick_ns(clock: Clock) -> float:
    looks = [clock.cpu_ns() for _ in range(51)]
    return float(np.median(np.diff(looks)))


def warm_up(subject: Subject, clock: Clock, at_least: int, time_s: float) -> int:
    """Run until the medians of two blocks of CPU time agree, at least `at_least` times; the number of runs."""
    runs, before, end = 0, 0.0, clock.wall_ns() + int(time_s * 1e9)
    while True:
        median = float(np.median([subject.once(clock)[1] for _ in range(BLOCK)]))
        runs += BLOCK
        settled = before > 0 and abs(median / before - 1) < SETTLED
        if runs >= at_least and (settled or clock.wall_ns() > end):
            return runs
        before = median


def again(subject: Subject) -> int:
    """The processor is warm already: enough runs for the new session's memory."""
    for _ in range(BLOCK):
        subject.session.run(subject.feeds)
    return BLOCK


def count_instructions(subject: Subject, runs: int = 5) -> int | None:
    counter = Instructions()
    try:
        counts = []
        for _ in range(runs):
            before = counter.read()
            subject.session.run(subject.feeds)
            after = counter.read()
            if before is None or after is None:
                return None
            counts.append(after - before)
        return int(np.median(counts))
    finally:
        counter.close()


def _rounds(subjects: dict[str, Subject], clock: Clock, request: dict[str, Any]) -> dict[str, list[tuple[int, int]]]:
    """One opening's share of the rounds and of the time; never below its share of enough."""
    share = request["openings"]
    order = np.random.default_rng(request["seed"])
    names = np.array(list(subjects))
    end = clock.wall_ns() + int(request["time_s"] / share * 1e9)
    times: dict[str, list[tuple[int, int]]] = {name: [] for name in subjects}
    for done in range(math.ceil(request["rounds"] / share)):
        if done * share >= ENOUGH_ROUNDS and clock.wall_ns() > end:
            break
        for name in order.permutation(names):
            times[name].append(subjects[name].once(clock))
    return times


if __name__ == "__main__":
    serve(measure)
