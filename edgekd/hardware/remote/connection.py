"""One connection to a device, held open: a private folder there that goes when the connection goes."""

from __future__ import annotations

import hashlib
import os
import re
import selectors
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgekd.errors import ConfigError, DeviceLostError, UnavailableError
from edgekd.hardware.remote.address import AdbAddress, Address, AnyAddress
from edgekd.hardware.remote.bounded import MOST_COMPLAINT, Done, last_line, printable, run_bounded

CONNECT_S, SEND_S = 15, 600
SSH = (
    "ssh", "-T", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes", f"-oConnectTimeout={CONNECT_S}",
    "-oServerAliveInterval=5", "-oServerAliveCountMax=3", "-oForwardAgent=no", "-oForwardX11=no",
    "-oClearAllForwardings=yes", "-oPermitLocalCommand=no", "-oControlPersist=no",
)  # fmt: skip
# The folder lives as long as this shell, which lives as long as its standard input is open; what still runs in the
# folder then is ended with it, before another edgekd can lock. The lock lies on a folder that exists already, so
# nothing of it stays behind.
HOLD = """umask 077; t=${TMPDIR:-/tmp}
exec 9<"$t" || exit 71; flock -n 9 || exit 75
d=$(mktemp -d "$t/edgekd.XXXXXXXX") || exit 73
end() { trap '' HUP INT TERM PIPE
for p in $(grep -lsz "^$d/" /proc/[0-9]*/cmdline); do p=${p%/cmdline}; kill -9 "${p#/proc/}"; done 2>/dev/null
rm -rf "$d"; }
trap end EXIT; trap 'exit 1' HUP INT TERM PIPE
echo "folder $d $(uname -m)"; cat >/dev/null"""
LOST = 255  # ssh's own code: the connection, and not what ran over it
ADB_LOST = re.compile(r"(adb: )?error: .*(not found|offline|closed|no devices)")
FOLDER_FOR = 'umask 077; { [ -d "${1%/*}" ] || mkdir "${1%/*}"; }'  # a file's
FULL = "No space left on device"
FOLDER = re.compile(r"folder (/[\w./-]{1,200}/edgekd\.\w{8}) ([\w-]{1,40})\n")
ENDED = {
    71: "has no temporary folder that can be opened",
    73: "cannot make a temporary folder: its disk may be full or read-only",
    75: "is busy: another edgekd measures there; wait until it is done",
    127: "lacks flock, mktemp or cat; install util-linux and coreutils",
}


@dataclass(frozen=True)
class Connection:
    """What an open connection can do; every path on the device lies in `folder`."""

    address: AnyAddress
    prefix: tuple[str, ...]  # what stands before a command for the device's shell
    folder: str
    machine: str  # what its kernel calls its architecture
    push: tuple[str, ...] = ()  # what stands before a file and its place there; without it a shell's input is the file

    def run(self, words: list[str], stdin: IO[bytes] | int, limit_s: float, most: int = 2**26) -> Done:
        """`words`, each quoted, as a command there; ssh hands the device's shell one line."""
        return run_bounded(str(self.address), [*self.prefix, shlex.join(words)], stdin, limit_s, most)

    def path(self, *parts: str) -> str:
        """Of a file in the folder. Raises ConfigError for a part that climbs out of it."""
        for part in parts:
            if part in ("", ".", "..") or "/" in part or not part.isprintable():
                raise ConfigError(f"{self.address}: {part!r} is no name of a file that edgekd sends; rename it")
        return "/".join((self.folder, *parts))

    def send(self, local: Path, *parts: str) -> str:
        """Copy a file there and compare its sha256; the path there."""
        there = self.path(*parts)
        with local.open("rb") as file:
            done = self._pushed(local, there) if self.push else self._shell(f'{FOLDER_FOR} && cat >"$1"', there, file)
            file.seek(0)
            wanted = hashlib.file_digest(file, "sha256").hexdigest()
        if not done.code:
            done = self._shell('sha256sum <"$1"', there)
        if done.code:
            size = f" ({local.stat().st_size / 2**20:.1f} MiB)" if FULL in done.complaint else ""
            kind = DeviceLostError if self.lost(done) else UnavailableError
            raise kind(f"{self.address}: {local.name}{size} could not be sent: {_said(done)}")
        if done.out.split()[:1] != [wanted.encode()]:
            raise UnavailableError(f"{self.address}: {local.name} arrived damaged (its sha256 differs); try again")
        return there

    def lost(self, done: Done) -> bool:
        """Whether the connection ended, and not what ran over it."""
        return done.code == LOST or (bool(self.push) and bool(ADB_LOST.match(done.complaint)))

    def _pushed(self, local: Path, there: str) -> Done:
        done = self._shell(FOLDER_FOR, there)
        if done.code:
            return done
        return run_bounded(str(self.address), [*self.push, str(local), there], subprocess.DEVNULL, SEND_S)

    def _shell(self, script: str, there: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> Done:
        return self.run(["sh", "-c", script, "sh", there], stdin, SEND_S, 4096)


def connect(address: AnyAddress) -> AbstractContextManager[Connection]:
    """Open the connection, lock the device, make the folder. Raises UnavailableError with what to do."""
    return _by_adb(address) if isinstance(address, AdbAddress) else _by_ssh(address)


@contextmanager
def _by_adb(address: AdbAddress) -> Iterator[Connection]:
    adb = ("adb", "-s", address.serial)
    check_attached(address)
    shell = (*adb, "shell", "-T")
    with _holding([*shell, f"TMPDIR=${{TMPDIR:-/data/local/tmp}}; {HOLD}"]) as holder:
        folder, machine = _folder(address, holder, time.monotonic() + 2 * CONNECT_S)
        yield Connection(address, shell, folder, machine, (*adb, "push"))


def check_attached(address: AdbAddress) -> None:
    """Raises UnavailableError for what adb does not list as a device, with what to do."""
    try:
        done = run_bounded(str(address), ["adb", "devices"], subprocess.DEVNULL, 2 * CONNECT_S, 2**16)
    except FileNotFoundError:
        raise UnavailableError(f"{address}: adb is not installed here; install Android's platform tools") from None
    lines = [line.split() for line in printable(done.out).splitlines()[1:]]
    known = {words[0]: words[1] for words in lines if len(words) == 2}
    state = known.get(address.serial)
    if state == "device":
        return
    if state == "unauthorized":
        raise UnavailableError(f"{address}: is unauthorized; accept this machine's key on its screen")
    if state:
        raise UnavailableError(f"{address}: is {state}; connect it anew, and see that `adb devices` says `device`")
    others = ", ".join(known) or "none"
    raise UnavailableError(f"{address}: adb lists no such device ({others}); switch on USB debugging and connect it")


@contextmanager
def _by_ssh(address: Address) -> Iterator[Connection]:
    with tempfile.TemporaryDirectory(prefix="edgekd.", dir=_short()) as private:
        first, later = _prefixes(address, Path(private) / "c")
        with _holding([*first, HOLD]) as holder:
            folder, machine = _folder(address, holder, time.monotonic() + 2 * CONNECT_S)
            yield Connection(address, later, folder, machine)


@dataclass(frozen=True)
class Holder:
    """What keeps the connection open, and what it complains of, as much as is worth telling."""

    process: subprocess.Popen[bytes]
    listener: threading.Thread
    said: bytearray

    @property
    def complaint(self) -> str:
        self.listener.join(CONNECT_S)
        return printable(self.said)


@contextmanager
def _holding(argv: list[str]) -> Iterator[Holder]:
    pipe = subprocess.PIPE
    process, said = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0), bytearray()
    listener = threading.Thread(target=_listen, args=(process.stderr, said), daemon=True)
    listener.start()
    try:
        yield Holder(process, listener, said)
    finally:
        _let_go(process)
        listener.join(CONNECT_S)


def _listen(pipe: IO[bytes], said: bytearray) -> None:
    """To the end: the rest is read and dropped."""
    with pipe:
        while some := pipe.read(2**16):
            said += some[: MOST_COMPLAINT - len(said)]


def _short() -> str | None:
    """Where the connection's socket lies: its whole path may have 108 bytes, and a workspace's is often longer."""
    places = (os.environ.get("XDG_RUNTIME_DIR"), "/tmp")
    return next((place for place in places if place and os.access(place, os.W_OK) and len(place) < 50), None)


def _let_go(holder: subprocess.Popen[bytes]) -> None:
    """Its input ends, so it removes the folder and goes; then what is left of the connection is ended."""
    assert holder.stdin
    assert holder.stdout
    with suppress(OSError):
        holder.stdin.close()
    try:
        holder.wait(CONNECT_S)
    except subprocess.TimeoutExpired:
        holder.kill()
        holder.wait()
    holder.stdout.close()


def _prefixes(address: Address, socket: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    port = ("-p", str(address.port)) if address.port else ()
    user = ("-l", address.user) if address.user else ()
    # a later command goes over the first one's connection or not at all: ssh would open another where that is gone
    rest = (*SSH, f"-oControlPath={socket}", *port, *user)
    return (*rest, "-oControlMaster=yes", "--", address.host), (
        *rest,
        "-oControlMaster=no",
        "-oProxyCommand=false",
        "--",
        address.host,
    )


def _folder(address: AnyAddress, holder: Holder, end: float) -> tuple[str, str]:
    """And what its kernel calls its architecture."""
    said = _first_line(address, holder.process, end).decode("ascii", "replace")
    if (found := FOLDER.fullmatch(said)) and ".." not in found[1]:
        return found[1], found[2]
    if said:
        raise UnavailableError(f"{address}: it answers {said[:80]!r} and no folder; does its shell print a greeting?")
    raise UnavailableError(f"{address}: {_why(address, holder.process.wait(CONNECT_S), holder.complaint)}")


def _first_line(address: AnyAddress, process: subprocess.Popen[bytes], end: float) -> bytes:
    """At most 300 bytes, by `end` of the clock; nothing where the connection ended before."""
    assert process.stdout
    found, some = b"", b" "
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        while some and len(found) < 300 and not found.endswith(b"\n"):
            if not waiting.select(max(0.0, end - time.monotonic())):
                process.kill()
                raise UnavailableError(
                    f"{address}: no answer within {2 * CONNECT_S} s; is it switched on and reachable?"
                )
            some = process.stdout.read(300 - len(found))
            found += some
    return found


def _why(address: AnyAddress, code: int, said: str) -> str:
    if code in ENDED:
        return ENDED[code]
    if isinstance(address, AdbAddress):
        return last_line(said, f"adb ended with {code}")
    if "IDENTIFICATION HAS CHANGED" in said:
        return (
            "its host key is not the one that is known; somebody may be in between. If the device was installed "
            f"anew, remove the old key with `ssh-keygen -R '{_known_as(address)}'` and connect once by hand"
        )
    if "Host key verification failed" in said:
        return "its host key is not known; connect once by hand with ssh and compare the key's fingerprint"
    if "Permission denied" in said:
        return "it takes none of your keys; add yours there with ssh-copy-id, or load it with ssh-add"
    return last_line(said, f"the connection ended with {code}")


def _known_as(address: Address) -> str:
    return f"[{address.host}]:{address.port}" if address.port and address.port != 22 else address.host


def _said(done: Done) -> str:
    last = last_line(done.complaint, f"the connection ended with {done.code}")
    return f"{last}; free some space there, or give TMPDIR another disk there" if FULL in done.complaint else last
