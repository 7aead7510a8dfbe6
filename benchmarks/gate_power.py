"""
How often the latency gate is right: A/A comparisons, and slowdowns whose truth is known.

    python benchmarks/gate_power.py record --out gate_power.jsonl     # about 80 minutes; resumes
    python benchmarks/gate_power.py table gate_power.jsonl
    python benchmarks/gate_power.py accuracy                          # the accuracy gate, by simulation

`record` runs the gate's own processes (two models each, of ever new seeds) and keeps one line a process. The
slowdowns are busy waits in the runner, that share of each run: exact. In `graph` the candidate has more nodes; its
truth is the mean over all recorded processes. `loaded` has another process at full speed on one of the cores.

`table`: A/A comparisons are real ones, 8 processes each, none used twice. Power is by resampling: 2,000 draws of 8 of
the recorded processes with replacement, so the draws share data. The intervals are exact (Clopper-Pearson), for
the number of real comparisons or of draws.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import models as zoo
import numpy as np
from scipy import stats

from edgekd.budget import State
from edgekd.deploy.subject import describe, find
from edgekd.gate.judge import CONFIDENCE, latency
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.inputs import resolved
from edgekd.hardware.measure.compare import WORKER, Model, paired_ratio, request
from edgekd.hardware.measure.process import launch
from edgekd.hardware.profile import load_profile
from edgekd.stats import discordant_difference, geometric_interval

TOLERANCE_PERCENT = 3.0
DRAWS = 2000
MARGIN_POINTS, SIMULATED = 0.5, 10_000
SLOWDOWNS = {"A/A": 0.0, "2 %": 0.02, "3 %": 0.03, "5 %": 0.05, "10 %": 0.10, "graph": 0.0}
AA = {  # comparisons of equals: 300 in all
    "idle": {"small-conv": 110, "mobilenet-v2-224": 20, "transformer-6": 20},
    "loaded": {"small-conv": 140, "mobilenet-v2-224": 5, "transformer-6": 5},
}
SHAPES = {"transformer-6": {"input_ids": (1, 32), "attention_mask": (1, 32)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    record_ = commands.add_parser("record")
    record_.add_argument("--out", type=Path, required=True)
    record_.add_argument("--processes", type=int, default=32, help="processes a slowdown, model and load")
    record_.add_argument("--load", choices=("idle", "loaded"), action="append")
    commands.add_parser("accuracy")
    table_ = commands.add_parser("table")
    table_.add_argument("record", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "accuracy":
        print(accuracy_table())
        return
    if arguments.command == "table":
        print(table([json.loads(line) for line in arguments.record.read_text().splitlines()]))
        return
    with tempfile.TemporaryDirectory() as folder:
        for load in arguments.load or ("idle", "loaded"):
            record(arguments, load, Path(folder))


def record(arguments: argparse.Namespace, load: str, folder: Path) -> None:
    """Cell by cell in turns, so that a slow hour of the machine is in all of them."""
    done = defaultdict(int)
    if arguments.out.is_file():
        for line in arguments.out.read_text().splitlines():
            row = json.loads(line)
            done[row["model"], row["load"], row["change"]] += 1
    cells = [(name, change) for change in SLOWDOWNS for name in zoo.NAMES]
    pairs = {(name, change): pair(name, change, folder) for name, change in cells}
    size = load_profile("local-cpu").measure.processes
    wanted = {cell: size * AA[load][cell[0]] if cell[1] == "A/A" else arguments.processes for cell in cells}
    hog = (
        multiprocessing.get_context("spawn").Process(target=_spin, args=(os.getpid(),), daemon=True)
        if load == "loaded"
        else None
    )
    if hog:
        hog.start()
    try:
        while todo := [cell for cell in cells if done[cell[0], load, cell[1]] < wanted[cell]]:
            for name, change in todo:
                for _ in range(size):  # one comparison's worth at a stretch
                    seed = done[name, load, change]
                    row = {"model": name, "load": load, "change": change, "seed": seed}
                    append(arguments.out, row | one_process(pairs[name, change], seed))
                    done[name, load, change] += 1
            print(f"{load}: {sum(done.values())} processes", file=sys.stderr)
    finally:
        if hog:
            hog.terminate()


def pair(name: str, change: str, folder: Path) -> dict[str, Model]:
    path = zoo.make(name, folder)
    candidate = zoo.slower_graph(path, 0.05, folder) if change == "graph" else path
    profile = load_profile("local-cpu")

    def model(file: Path, slowdown: float) -> Model:
        subject = find(file, profile)
        inputs = resolved(file.name, describe(subject), SHAPES.get(name, {}), 1)
        return Model(file, subject.runtime, inputs, slowdown=slowdown)

    return {"base": model(path, 0.0), "candidate": model(candidate, SLOWDOWNS[change])}


def one_process(models: dict[str, Model], seed: int) -> dict[str, Any]:
    start = time.perf_counter()
    answer = launch(WORKER)(request(models, load_profile("local-cpu").measure, seed))
    seconds = time.perf_counter() - start
    base, candidate = (answer[name] for name in ("base", "candidate"))
    wall, clock = (np.concatenate(base[key]) for key in ("wall", "cpu"))
    return {
        "speedup": paired_ratio(base["cpu"], candidate["cpu"]),
        "wall_speedup": paired_ratio(base["wall"], candidate["wall"]),
        "p50_ms": float(np.median(wall)) / 1e6,
        "contention": float(np.median(wall / clock)),
        "rounds": len(clock),
        "seconds": seconds,
    }


def append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def table(rows: list[dict[str, Any]]) -> str:
    processes = load_profile("local-cpu").measure.processes
    cells = defaultdict(list)
    for row in rows:
        cells[row["model"], row["load"], row["change"]].append(row)
    lines = [
        f"| model, machine | p50 ms; sd; s | {' | '.join(SLOWDOWNS)} |",
        f"|---|---|{'---|' * len(SLOWDOWNS)}",
    ]
    for load in ("idle", "loaded"):
        for model in zoo.NAMES:
            found = [cells[model, load, change] for change in SLOWDOWNS]
            if all(found):
                judged = [cell(change, rows, processes) for change, rows in zip(SLOWDOWNS, found, strict=True)]
                lines.append(f"| {model}, {load} | {about(found, processes)} | {' | '.join(judged)} |")
    counts = {len(rows) for (_, _, change), rows in cells.items() if change != "A/A"}
    recorded = " or ".join(map(str, sorted(counts)))
    failed, n = false_alarms(cells, processes)
    low, high = clopper_pearson(failed, n)
    return "\n".join(
        [
            *lines,
            "",
            "Columns: the true slowdown (graph: more nodes). Each cell: failed [exact 95 % interval, in percent]; "
            "inconclusive. The rest passed. A/A: comparisons as "
            f"they were run, each process used once. The others: {DRAWS} draws of {processes} out of {recorded} "
            "recorded processes a cell, so the draws share data; the interval is that of the draws. sd: between "
            "processes, of the ratio; s: a comparison's duration.",
            f"A/A in all: {failed} of {n} comparisons failed, 95 % interval [{low:.1%}, {high:.1%}]. Limit "
            f"{TOLERANCE_PERCENT:g} %, {processes} processes a comparison. {cpu().model}, {os.cpu_count()} cores, "
            f"{', '.join(cpu().isa)}; onnxruntime {version('onnxruntime')}, CPython {platform.python_version()}.",
        ]
    )


def about(found: list[list[dict[str, Any]]], processes: int) -> str:
    """Median latency, spread of the ratio between processes (of all changes: pooled), seconds a comparison."""
    every = [row for rows in found for row in rows]
    spread = np.sqrt(np.mean([np.log([row["speedup"] for row in rows]).var(ddof=1) for rows in found]))
    seconds = processes * np.median([row["seconds"] for row in every])
    return f"{np.median([row['p50_ms'] for row in every]):.2f}; {100 * spread:.2f} %; {seconds:.0f}"


def cell(change: str, rows: list[dict[str, Any]], processes: int) -> str:
    """How many fail, with the exact interval, and how many are inconclusive; what is left passes."""
    real = change == "A/A"
    states = verdicts(rows, processes) if real else resampled(rows, processes)
    total = sum(states.values())
    low, high = clopper_pearson(states["fail"], total)
    mean = np.mean([np.log(row["speedup"]) for row in rows])
    truth = f"{100 * (np.exp(-mean) - 1):+.1f} %: " if change == "graph" else ""
    fail = f"{states['fail']} of {total}" if real else f"{100 * states['fail'] / total:.1f} %"
    return f"{truth}{fail} [{100 * low:.1f}, {100 * high:.1f}]; {100 * states['inconclusive'] / total:.0f} %"


def accuracy_table() -> str:
    """By simulation: how often a true drop fails a margin of 0.5 points, and how often it cannot be decided."""
    lines = ["| n | models differ on | true drop | fail | inconclusive |", "|---|---|---|---|---|"]
    draw = np.random.default_rng(0)
    for n, discordance, drop in itertools.product((500, 1000, 2000), (0.02, 0.05), (0.0, 0.5, 1.0, 2.0)):
        lost = (discordance + drop / 100) / 2
        pairs = draw.multinomial(n, [lost, discordance - lost, 1 - discordance], SIMULATED)
        found = [discordant_difference(b, c, n) for b, c, _ in pairs]
        failed = sum(change.high < -MARGIN_POINTS for change in found)
        passed = sum(change.low >= -MARGIN_POINTS for change in found)
        low, high = clopper_pearson(failed, SIMULATED)
        lines.append(
            f"| {n} | {100 * discordance:g} % | {drop:g} points | {100 * failed / SIMULATED:.1f} % "
            f"[{100 * low:.1f}, {100 * high:.1f}] | {100 * (SIMULATED - failed - passed) / SIMULATED:.1f} % |"
        )
    return "\n".join([*lines, "", f"Margin {MARGIN_POINTS:g} points, {SIMULATED} simulated evaluations a row, seed 0."])


def judged(rows: list[dict[str, Any]]) -> State:
    """What the gate says of these processes."""
    return latency(geometric_interval([row["speedup"] for row in rows], CONFIDENCE), TOLERANCE_PERCENT).state


def verdicts(rows: list[dict[str, Any]], processes: int) -> dict[str, int]:
    """Of comparisons as they were run, one after the other."""
    found = defaultdict(int)
    for start in range(0, len(rows) - processes + 1, processes):
        found[judged(rows[start : start + processes])] += 1
    return found


def resampled(rows: list[dict[str, Any]], processes: int) -> dict[str, int]:
    draw, found = np.random.default_rng(0), defaultdict(int)
    for _ in range(DRAWS):
        found[judged([rows[number] for number in draw.integers(0, len(rows), processes)])] += 1
    return found


def false_alarms(cells: dict[Any, list[dict[str, Any]]], processes: int) -> tuple[int, int]:
    found = [verdicts(rows, processes) for key, rows in cells.items() if key[2] == "A/A"]
    return sum(f["fail"] for f in found), sum(sum(f.values()) for f in found)


def clopper_pearson(count: float, n: int) -> tuple[float, float]:
    """The exact 95 % interval of a share (Clopper and Pearson 1934), by its beta quantiles."""
    low = float(stats.beta.ppf(0.025, count, n - count + 1)) if count > 0 else 0.0
    high = float(stats.beta.ppf(0.975, count + 1, n - count)) if count < n else 1.0
    return low, high


def _spin(parent: int) -> None:
    """At full speed, until who started it is gone."""
    while os.getppid() == parent:
        pass


if __name__ == "__main__":
    main()
