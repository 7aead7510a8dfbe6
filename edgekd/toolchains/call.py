"""Asking a toolchain: a script in its environment, JSON in and out, arrays in files, a limit of time."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from edgekd.errors import UnavailableError, UnsupportedError
from edgekd.toolchains.rooms import environment, room_of

TIMEOUT_S = 900


def call(name: str, worker: str, asked: Mapping[str, Any], *, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """
    What `worker`, a script of edgekd.toolchains.workers, answers in the toolchain `name`.

    Raises UnavailableError where the toolchain is not installed or does not end in time, UnsupportedError with its
    last words where it fails.
    """
    room = room_of(name)
    with (
        tempfile.TemporaryDirectory() as folder,
        as_file(files("edgekd.toolchains.workers") / f"{worker}.py") as script,
    ):
        answer = Path(folder) / "answer.json"
        command = [str(room.python), "-I", str(script), json.dumps(dict(asked)), str(answer)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=timeout_s, cwd=folder,
                env=environment() | {"HF_HUB_OFFLINE": "1"},
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"toolchain {name}: {worker} did not end within {timeout_s:g} s") from error
        if done.returncode or not answer.is_file():
            lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
            raise UnsupportedError(f"toolchain {name}: {worker}: {lines[-1]}")
        told: dict[str, Any] = json.loads(answer.read_text("utf-8"))
    return told
