"""
One fresh process of a comparison: reads a request as JSON, runs all models in random order, answers as JSON.

It imports the runtime and numpy, never torch: a second library's threads would be measured with it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.hardware.profile import RuntimeSpec
from edgekd.hardware.runtime import Array, Session, open_session


def main() -> None:
    json.dump(measure(json.load(sys.stdin)), sys.stdout)


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Wall and thread CPU times in ns of every model, one a round: lists of length `rounds`, by model name."""
    order = np.random.default_rng(request["seed"])
    sessions: dict[str, Session] = {}
    feeds: dict[str, dict[str, Array]] = {}
    answer: dict[str, dict[str, Any]] = {}
    for name, model in request["models"].items():
        start = time.perf_counter_ns()
        sessions[name] = open_session(Path(model["path"]), RuntimeSpec.model_validate_json(model["runtime"]))
        load_ns = time.perf_counter_ns() - start
        feeds[name] = {key: order.standard_normal(shape).astype(np.float32) for key, shape in model["inputs"].items()}
        answer[name] = {"load_ns": load_ns, "first_ns": _once(sessions[name], feeds[name])[0], "wall": [], "cpu": []}
    for name in sessions:
        for _ in range(request["warmup_runs"]):
            _once(sessions[name], feeds[name])
    names = np.array(list(sessions))
    for _ in range(request["rounds"]):
        for name in order.permutation(names):
            wall, cpu = _once(sessions[name], feeds[name])
            answer[name]["wall"].append(wall)
            answer[name]["cpu"].append(cpu)
    for session in sessions.values():
        session.close()
    return answer


def _once(session: Session, feeds: dict[str, Array]) -> tuple[int, int]:
    cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
    session.run(feeds)
    return time.perf_counter_ns() - wall, time.thread_time_ns() - cpu


if __name__ == "__main__":
    main()
