"""
How often the latency gate is right: A/A comparisons, and slowdowns whose truth is known.

    python benchmarks/gate_power.py record --out gate_power.jsonl     # about 2 hours; resumes
    python benchmarks/gate_power.py table gate_power.jsonl

`record` runs the gate's own processes (two models each, as `edgekd check` does) and keeps one line a process. The
slowdowns are busy waits in the runner, that share of each run: exact. In `graph` the candidate has more nodes; its
truth is the mean over all recorded processes. `loaded` has another process at full speed on one of the cores.

`table`: A/A comparisons are real ones, 10 processes each, none used twice. Power is by resampling: 2,000 draws of 10
of the recorded processes with replacement, so the draws share data; the intervals are exact (Clopper-Pearson) for as
many comparisons as the recorded processes would make without being used twice.
"""

from __future__ import annotations

import argparse
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

from edgekd.deploy.subject import describe, find
from edgekd.gate.judge import latency
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.inputs import resolved
from edgekd.hardware.measure.compare import WORKER, Model, request, speedup
from edgekd.hardware.measure.process import launch
from edgekd.hardware.profile import load_profile

TOLERANCE_PERCENT = 3.0
DRAWS = 2000
SLOWDOWNS = {"A/A": 0.0, "2 %": 0.02, "3 %": 0.03, "5 %": 0.05, "10 %": 0.10, "graph": 0.0}
AA = {"small-conv": 100, "mobilenet-v2-224": 25, "transformer-6": 25}  # comparisons of equals, a load: 300 in all
SHAPES = {"transformer-6": {"input_ids": (1, 32), "attention_mask": (1, 32)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    record_ = commands.add_parser("record")
    record_.add_argument("--out", type=Path, required=True)
    record_.add_argument("--processes", type=int, default=40, help="processes a slowdown, model and load")
    record_.add_argument("--load", choices=("idle", "loaded"), action="append")
    table_ = commands.add_parser("table")
    table_.add_argument("record", type=Path)
    arguments = parser.parse_args()
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
    wanted = {cell: size * AA[cell[0]] if cell[1] == "A/A" else arguments.processes for cell in cells}
    hog = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True) if load == "loaded" else None
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
    wall, clock = ({name: [np.array(answer[name][key])] for name in models} for key in ("wall", "cpu"))
    return {
        "speedup": speedup(clock["base"], clock["candidate"])[0],
        "wall_speedup": speedup(wall["base"], wall["candidate"])[0],
        "p50_ms": float(np.median(wall["base"][0])) / 1e6,
        "contention": float(np.median(wall["base"][0] / clock["base"][0])),
        "rounds": len(clock["base"][0]),
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
        f"Tolerance {TOLERANCE_PERCENT:g} %, {processes} processes a comparison, one-sided 95 % bounds.",
        f"{cpu().model}, {os.cpu_count()} cores, {', '.join(cpu().isa)}; CPython {platform.python_version()}, "
        f"onnxruntime {version('onnxruntime')}.",
        "",
        "| model | machine | true change | n | fail | inconclusive | pass | p50 ms | sd between processes | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (model, load, change), found in cells.items():
        ratios = np.array([row["speedup"] for row in found])
        truth = change if change != "graph" else f"graph, {100 * (np.exp(-np.log(ratios).mean()) - 1):+.1f} %"
        real = change == "A/A"
        states = verdicts(ratios, processes) if real else resampled(ratios, processes)
        n = len(ratios) // processes
        shown = " | ".join(share(states[state], sum(states.values()), n) for state in ("fail", "inconclusive", "pass"))
        drawn = f"{n} real" if real else f"{len(ratios)} processes, resampled"
        lines.append(
            f"| {model} | {load} | {truth} | {drawn} | {shown} | "
            f"{np.median([row['p50_ms'] for row in found]):.2f} | {100 * np.log(ratios).std(ddof=1):.2f} % | "
            f"{processes * np.median([row['seconds'] for row in found]):.0f} |"
        )
    failed, n = false_alarms(cells, processes)
    low, high = clopper_pearson(failed, n)
    return "\n".join([*lines, "", f"A/A in all: {failed} of {n} failed, 95 % interval {low:.1%} to {high:.1%}."])


def verdicts(ratios: np.ndarray, processes: int) -> dict[str, int]:
    """Of comparisons as they were run, one after the other."""
    found = defaultdict(int)
    for start in range(0, len(ratios) - processes + 1, processes):
        found[latency(ratios[start : start + processes].tolist(), TOLERANCE_PERCENT).state] += 1
    return found


def resampled(ratios: np.ndarray, processes: int) -> dict[str, int]:
    draw, found = np.random.default_rng(0), defaultdict(int)
    for _ in range(DRAWS):
        found[latency(draw.choice(ratios, processes).tolist(), TOLERANCE_PERCENT).state] += 1
    return found


def false_alarms(cells: dict[Any, list[dict[str, Any]]], processes: int) -> tuple[int, int]:
    found = [
        verdicts(np.array([r["speedup"] for r in rows]), processes) for key, rows in cells.items() if key[2] == "A/A"
    ]
    return sum(f["fail"] for f in found), sum(sum(f.values()) for f in found)


def share(count: int, total: int, n: int) -> str:
    """A share with the exact interval that `n` comparisons give it."""
    low, high = clopper_pearson(count / total * n, n)
    return f"{100 * count / total:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"


def clopper_pearson(count: float, n: int) -> tuple[float, float]:
    """The exact 95 % interval of a share (Clopper and Pearson 1934), by its beta quantiles."""
    low = float(stats.beta.ppf(0.025, count, n - count + 1)) if count > 0 else 0.0
    high = float(stats.beta.ppf(0.975, count + 1, n - count)) if count < n else 1.0
    return low, high


def _spin() -> None:
    while True:
        pass


if __name__ == "__main__":
    main()
