"""A fresh process that measures: a request as JSON on its standard input, an answer or one sentence back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from edgekd.errors import ConfigError, DataError, EdgekdError, UnavailableError

LIMIT_S = 600
KINDS = {"ConfigError": ConfigError, "DataError": DataError, "UnavailableError": UnavailableError}
Launch = Callable[[dict[str, Any]], dict[str, Any]]


def launch(module: str) -> Launch:
    """A function that runs `module` in a process of its own for each request."""

    def run(request: dict[str, Any]) -> dict[str, Any]:
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", module],
                input=json.dumps(request), capture_output=True, text=True, timeout=LIMIT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise UnavailableError(
                f"measure: one process took more than {LIMIT_S} s; lower measure.rounds or measure fewer models"
            ) from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UnavailableError(f"measure: the process that runs the models ended with {done.returncode}: {last}")
        answer: dict[str, Any] = json.loads(done.stdout)
        if "error" in answer:
            raise KINDS.get(answer["kind"], EdgekdError)(answer["error"])
        return answer

    return run


def serve(measure: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The other end: what a measuring module does when it is run."""
    try:
        answer = measure(json.load(sys.stdin))
    except EdgekdError as error:
        answer = {"error": str(error), "kind": type(error).__name__}
    json.dump(answer, sys.stdout)
