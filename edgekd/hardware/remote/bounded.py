"""A command whose answer is bounded in size and in time."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from edgekd.errors import DeviceLostError, UnavailableError

MOST_BYTES = 64 * 2**20
MOST_COMPLAINT = 2**16  # of what it says on its standard error; the rest is read and dropped
Found = dict[IO[bytes] | None, bytearray]


@dataclass(frozen=True)
class Done:
    code: int
    out: bytes
    complaint: str


def run_bounded(what: str, argv: Sequence[str], stdin: IO[bytes] | int, limit_s: float, most: int = MOST_BYTES) -> Done:
    """
    Run `argv`, no shell between.

    Raises UnavailableError for an answer past `most` bytes, DeviceLostError past `limit_s` seconds.
    """
    process = subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, complaint = _read(what, process, time.monotonic() + limit_s, limit_s, most)
        return Done(process.wait(), out, printable(complaint))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def printable(text: bytes | bytearray) -> str:
    """What a device says, without what moves a terminal's cursor."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text.decode("utf-8", "replace"))


def last_line(complaint: str, otherwise: str) -> str:
    """As much of it as fits into a sentence."""
    return (complaint.strip().splitlines() or [otherwise])[-1][:300]


def _read(what: str, process: subprocess.Popen[bytes], end: float, limit_s: float, most: int) -> tuple[bytes, bytes]:
    found: Found = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as waiting:
        for pipe in found:
            assert pipe is not None
            waiting.register(pipe, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(max(0.0, end - time.monotonic()))
            if not ready or time.monotonic() > end:  # a flood is always ready
                raise DeviceLostError(f"{what}: no answer within {limit_s:g} s; is the device reachable and idle?")
            for key, _ in ready:
                _take(waiting, key, found)
            if len(found[process.stdout]) > most:
                raise UnavailableError(f"{what}: its answer is longer than {most:,} bytes; nothing of it is used")
    return bytes(found[process.stdout]), bytes(found[process.stderr][:MOST_COMPLAINT])


def _take(
    waiting: selectors.BaseSelector, key: selectors.SelectorKey, found: dict[IO[bytes] | None, bytearray]
) -> None:
    some = os.read(key.fd, 2**16)
    pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]
    if not some:
        waiting.unregister(pipe)
    elif len(found[pipe]) <= MOST_BYTES:
        found[pipe] += some
