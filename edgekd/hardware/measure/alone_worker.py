"""One fresh process for one model: its peak memory first, then its energy, then how much it gets through."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgekd.hardware.measure.counters import energy_between, energy_uj
from edgekd.hardware.measure.process import serve
from edgekd.hardware.measure.worker import THREAD, Subject, keep_to, load_runtime, opened
from edgekd.hardware.specs import read_runnable

WARMUP_RUNS = 10


def measure(request: dict[str, Any]) -> dict[str, Any]:
    keep_to(request.get("affinity"))
    load_runtime(read_runnable(request["model"]["runtime"]))  # its own memory is not the model's
    before = reset_peak()
    subject, _ = opened(request["model"], request["seed"], THREAD)
    for _ in range(WARMUP_RUNS):
        subject.session.run(subject.feeds)
    peak = status_bytes("VmHWM")
    counter = energy_uj()
    runs = _runs_for(subject, request["seconds"])
    energy = energy_between(counter, energy_uj())
    subject.session.close()
    return {
        "peak_memory_bytes": None if before is None or peak is None else max(0, peak - before),
        "process_peak_bytes": peak,
        "energy_uj": None if energy is None else energy / runs,
        "runs_per_s": [_runs_per_s(s, model, request) for s, model in request["loads"]],
    }


def reset_peak() -> int | None:
    """Forget the peak so far, where the kernel lets us; what the process holds now."""
    try:
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    except OSError:
        return None
    return status_bytes("VmRSS")


def status_bytes(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


def _runs_for(subject: Subject, seconds: float) -> int:
    runs, end = 0, time.perf_counter() + seconds
    while runs == 0 or time.perf_counter() < end:
        subject.session.run(subject.feeds)
        runs += 1
    return runs


def _runs_per_s(sessions: int, model: dict[str, Any], request: dict[str, Any]) -> float:
    """All sessions together."""
    subjects = [opened(model, request["seed"] + number, THREAD)[0] for number in range(sessions)]
    for subject in subjects:
        for _ in range(WARMUP_RUNS):
            subject.session.run(subject.feeds)
    start = time.perf_counter()
    with ThreadPoolExecutor(sessions) as pool:
        runs = sum(pool.map(lambda subject: _runs_for(subject, request["seconds"]), subjects))
    rate = runs / (time.perf_counter() - start)
    for subject in subjects:
        subject.session.close()
    return rate


if __name__ == "__main__":
    serve(measure)
