"""A real sshd on loopback, with keys and folders of its own, stands for the device."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgekd.hardware.remote import farm
from edgekd.hardware.remote.address import Address
from edgekd.hardware.remote.device import RemoteDevice

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_sshd = pytest.mark.skipif(SSHD is None, reason="no sshd is installed (apt-get install openssh-server)")
# what a device that tells hardly anything says of itself
TOLD: dict[str, Any] = {
    "python": "3", "architecture": "x86_64", "cpuinfo": "", "cores": 1, "packages": {"numpy": "2"}, "jiffies": None,
    "look": dict.fromkeys(("temperature_c", "clock_mhz", "throttled", "since_start", "throttle_count")),
    "facts": dict.fromkeys(("board", "clock_mhz", "l2_kib", "l3_kib", "ram_mib")),
}  # fmt: skip

SLOWED = """#!{python}
import json, subprocess, sys
asked = sys.stdin.read()
if sys.argv[2:] == ["worker"]:
    told = json.loads(asked)
    open({log!r}, "a").writelines(f"{{name}}\\n" for name in told["models"])
    for name, model in told["models"].items():
        model["slowdown"] = 30.0 if name == {name!r} else 0.0
    asked = json.dumps(told)
done = subprocess.run([{python!r}, *sys.argv[1:]], input=asked, capture_output=True, text=True)
sys.stdout.write(done.stdout); sys.stderr.write(done.stderr); sys.exit(done.returncode)
"""


@dataclass(frozen=True)
class Board:
    home: Path
    address: Address
    server: int

    def cut(self) -> None:
        """The server's end of every connection dies."""
        self.signalled(signal.SIGKILL)

    def signalled(self, number: signal.Signals) -> None:
        """The server's end of every connection gets it, the server itself does not."""
        todo = [self.server]
        while todo:
            parent = todo.pop()
            found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, check=False)
            todo += [int(pid) for pid in found.stdout.split()]
            with suppress(FileNotFoundError, ProcessLookupError):  # gone by itself in between
                if parent != self.server and b"sshd" in Path(f"/proc/{parent}/cmdline").read_bytes():
                    os.kill(parent, number)

    def dies_once(self, monkeypatch: pytest.MonkeyPatch, method: str, of: type = RemoteDevice) -> None:
        """Its connections are cut when that is asked of it for the first time."""
        monkeypatch.setattr(farm, "PAUSES_S", (0.5, 1.0))
        do, cuts = getattr(of, method), iter([True])

        def cut_first(*asked: Any, **more: Any) -> Any:
            if next(cuts, False):
                self.cut()
            return do(*asked, **more)

        monkeypatch.setattr(of, method, cut_first)

    def instead_of(self, program: str, script: str) -> None:
        """What the device's shell finds under that name."""
        fake = self.home / "bin" / program
        fake.write_text(script, "utf-8")
        fake.chmod(0o755)

    @property
    def temporary(self) -> Path:
        return self.home / "tmp"

    def left(self) -> list[str]:
        return sorted(path.name for path in self.temporary.iterdir())


def key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text("ascii")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """Reached by the `ssh` that is found first, which knows it."""
    config = tmp_path / "ssh_config"
    ssh = tmp_path / "client" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n', "ascii")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    mine = key(tmp_path / "mine")
    config.write_text(
        f"UserKnownHostsFile {tmp_path}/known\nGlobalKnownHostsFile /dev/null\n"
        f"IdentityFile {tmp_path}/mine\nIdentitiesOnly yes\n",
        "ascii",
    )
    with serving(tmp_path, mine, tmp_path / "known") as one:
        yield one


def delayed(board: Board, name: str) -> None:
    """The device's Python makes one model wait in each run."""
    board.instead_of("python3", SLOWED.format(python=sys.executable, name=name, log=str(board.home / "measured")))


def measured(board: Board) -> set[str]:
    """What has been, since its Python delays a model."""
    return set((board.home / "measured").read_text("utf-8").splitlines())


@contextmanager
def started(home: Path, beside: Board) -> Iterator[Board]:
    """Another device, for the same keys and the same list of known hosts."""
    home.mkdir()
    mine = (beside.home / "mine.pub").read_text("ascii")
    with serving(home, mine, beside.home / "known") as other:
        yield other


@contextmanager
def serving(home: Path, mine: str, known: Path) -> Iterator[Board]:
    """An sshd with a host key of its own, whose shell has a PATH and a temporary folder of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for folder in ("tmp", "bin"):
        (home / folder).mkdir()
    with known.open("a", encoding="ascii") as file:
        file.write(f"[127.0.0.1]:{port} {key(home / 'host')}")
    (home / "authorized").write_text(mine, "ascii")
    path = f"{home / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"
    (home / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {home}/host\nAuthorizedKeysFile {home}/authorized\n"
        f"StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n"
        f"ForceCommand {home}/shell\n",
        "ascii",
    )
    script = f'export PATH="{path}" TMPDIR="{home}/tmp"\nexec sh -c "$SSH_ORIGINAL_COMMAND"'
    (home / "shell").write_text(f"#!/bin/sh\n{script}\n", "ascii")
    (home / "shell").chmod(0o755)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    assert SSHD
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(home / "sshd_config")], stderr=subprocess.DEVNULL)
    wait_for(port)
    yield Board(home, Address("127.0.0.1", getpass.getuser(), port), server.pid)
    server.terminate()
    server.wait()


def wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("sshd did not start")
