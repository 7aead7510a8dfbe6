"""A build needs no network, and writes nowhere but into its workspace and its output folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import onnx_models

# every Python process of the build runs this first, the measuring ones included
WATCH = r"""
import os, sys
ALLOWED = os.environ["WATCH_ALLOWED"].split(os.pathsep)
LOG = os.environ["WATCH_LOG"]
DIR_FD = {"os.mkdir": 2, "os.remove": 1, "os.rmdir": 1, "os.rename": 2}
WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink", "tempfile.mkstemp")

def note(line):
    handle = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, (line + "\n").encode())
    os.close(handle)

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname"):
        note(f"network: {event} {arguments[-1]!r}")
        raise OSError(101, "Network is unreachable")
    if event == "open":
        path, _, flags = arguments
        if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
    elif event in WRITES:
        path = arguments[0]
        handle = arguments[DIR_FD[event]] if event in DIR_FD else -1
        if isinstance(handle, int) and handle >= 0:  # relative to a folder that is open, as shutil.rmtree has it
            path = os.path.join(os.readlink(f"/proc/self/fd/{handle}"), os.fsdecode(path))
    else:
        return
    if isinstance(path, (str, bytes, os.PathLike)):
        where = os.path.abspath(os.fsdecode(path))
        if where != LOG and not where.startswith("/dev/") and not any(where.startswith(a) for a in ALLOWED):
            note(f"write: {event} {where}")

note("watching")
sys.addaudithook(watch)
"""


def watched(tmp_path: Path, *allowed: Path) -> dict[str, str]:
    """The environment of a process whose writes and sockets are noted in `tmp_path`/log; its home is empty."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WATCH)
    (tmp_path / "home").mkdir()
    return {
        key: value for key, value in os.environ.items() if not key.startswith(("HF_", "XDG_", "EDGEKD_", "ORT_", "CI"))
    } | {
        "PYTHONPATH": str(tmp_path / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path / "home"),
        "WATCH_ALLOWED": os.pathsep.join(map(str, allowed)),
        "WATCH_LOG": str(tmp_path / "log"),
    }


def noted(tmp_path: Path) -> list[str]:
    """What was written elsewhere, or sent; and what lies in the home."""
    lines = set((tmp_path / "log").read_text().splitlines()) - {"watching"}
    return sorted(lines) + [str(path) for path in (tmp_path / "home").rglob("*")]


@pytest.mark.slow
def test_a_build_with_sockets_refused_succeeds_and_writes_nowhere_else(
    tmp_path: Path, micro_settings: list[str]
) -> None:
    workspace, out = tmp_path / "workspace", tmp_path / "out"
    env = watched(tmp_path, workspace, out)
    command = [sys.executable, "-m", "edgekd", "build", "digits", "--json", "--workspace", str(workspace)]
    command += ["--out", str(out), *(part for setting in micro_settings for part in ("--set", setting))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["report"]["shipped"]
    # the build itself, and three measuring processes of two comparisons
    assert (tmp_path / "log").read_text().splitlines().count("watching") >= 7
    assert noted(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_measuring_sends_nothing_and_writes_nothing(tmp_path: Path, runtime: str) -> None:
    env = watched(tmp_path, Path("/proc/self/clear_refs"))  # the kernel's: it forgets the peak of our memory
    model = onnx_models.stack_of(2, tmp_path / "m.onnx")
    quick = Path(__file__).parent / "micro-cpu.yaml"
    command = [sys.executable, "-m", "edgekd", "profile", str(model), "--runtime", runtime, "--target", str(quick)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert noted(tmp_path) == []
