"""Installing a toolchain: a virtual environment of its own beside the workspace, whole or not there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from edgekd.engine.workspace import default_workspace
from edgekd.errors import UnavailableError
from edgekd.toolchains.catalogue import Toolchain, toolchain

READY = "ready.json"  # written last: a room without it is none


@dataclass(frozen=True)
class Room:
    """An environment that is there, and the versions in it by package."""

    of: Toolchain
    folder: Path
    versions: dict[str, str]

    @property
    def python(self) -> Path:
        return python_of(self.folder)


def root() -> Path:
    return default_workspace() / "toolchains"


def room_of(name: str) -> Room:
    """Raises UnavailableError with what installs it, where it is not there."""
    found = find(toolchain(name))
    if found is None:
        raise UnavailableError(f"toolchain {name!r} is not installed; edgekd toolchain install {name}")
    return found


def find(wanted: Toolchain) -> Room | None:
    folder = root() / f"{wanted.name}-{wanted.digest}"
    ready = folder / READY
    return Room(wanted, folder, json.loads(ready.read_text("utf-8"))) if ready.is_file() else None


def install(name: str, say: Callable[[str], None]) -> Room:
    """
    Make the environment, where it is not there yet, and see that it imports. Raises UnavailableError with pip's words.

    One process at a time; what a killed one left is removed.
    """
    wanted = toolchain(name)
    root().mkdir(parents=True, exist_ok=True)
    with FileLock(root() / f".{name}.lock"):
        if there := find(wanted):
            return there
        folder = root() / f"{wanted.name}-{wanted.digest}"
        _clear(name)
        say(f"toolchain {name}: about {wanted.disk_mib} MiB in {folder}")
        try:
            _make(wanted, folder, say)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return room_of(name)


def remove(name: str) -> bool:
    """Of any version; whether there was one."""
    toolchain(name)
    if not root().is_dir():
        return False
    with FileLock(root() / f".{name}.lock"):
        return _clear(name)


def python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _clear(name: str) -> bool:
    old = [folder for folder in root().glob(f"{name}-*") if folder.is_dir()]
    for folder in old:
        shutil.rmtree(folder)
    return bool(old)


def _make(wanted: Toolchain, folder: Path, say: Callable[[str], None]) -> None:
    python = str(python_of(folder))
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    _run([sys.executable, "-m", "venv", str(folder)], wanted.name)
    say(f"toolchain {wanted.name}: pip install {' '.join(wanted.packages)}")
    _run([*pip, *wanted.packages], wanted.name)
    if wanted.alone:
        _run([*pip, "--no-deps", *wanted.alone], wanted.name)
    _run([python, "-I", "-c", f"import {wanted.module}"], wanted.name)
    frozen = _run([python, "-m", "pip", "--disable-pip-version-check", "list", "--format=json"], wanted.name)
    versions = {row["name"].lower(): row["version"] for row in json.loads(frozen)}
    (folder / READY).write_text(json.dumps(versions, indent=1), "utf-8")


def _run(command: list[str], name: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        why = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "it says nothing")
        raise UnavailableError(
            f"toolchain {name}: {' '.join(command[1:4])} ended with {done.returncode}: {why}; it needs a network, "
            "Python 3.11 on Linux is what it was tried with"
        )
    return done.stdout


def environment() -> dict[str, str]:
    """The person's, without what would let edgekd's own packages into the room."""
    left_out = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_CONSTRAINT")
    return {key: value for key, value in os.environ.items() if key not in left_out}
