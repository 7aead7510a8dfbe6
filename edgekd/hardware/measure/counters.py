"""Counters of the kernel, where it gives them: instructions, energy, steal. None with a reason is an answer."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path

SYSCALL = {"x86_64": 298, "aarch64": 241}  # perf_event_open
HARDWARE, INSTRUCTIONS = 0, 1
EXCLUDE_KERNEL_AND_HYPERVISOR = 1 << 5 | 1 << 6
RAPL = Path("/sys/class/powercap/intel-rapl:0")


class Instructions:
    """
    Instructions of the calling thread in user space, by perf_event_open; `why_not` where there are none.

    They say that the executed code changed, never how long it takes: int8 can have fewer of them than time saved,
    or more (measured: -12 % for -55 % of time).
    """

    def __init__(self) -> None:
        self.why_not: str | None = None
        self._file = -1
        if platform.machine() not in SYSCALL or not hasattr(ctypes.CDLL(None), "syscall"):
            self.why_not = f"not known on {platform.machine()}"
            return
        attributes = bytearray(112)
        struct.pack_into("IIQ", attributes, 0, HARDWARE, len(attributes), INSTRUCTIONS)
        struct.pack_into("Q", attributes, 40, EXCLUDE_KERNEL_AND_HYPERVISOR)
        buffer = (ctypes.c_char * len(attributes)).from_buffer(attributes)
        library = ctypes.CDLL(None, use_errno=True)
        self._file = library.syscall(SYSCALL[platform.machine()], buffer, 0, -1, -1, 0)
        if self._file < 0:
            self.why_not = f"the kernel gives none: {os.strerror(ctypes.get_errno())}"

    def read(self) -> int | None:
        return int.from_bytes(os.read(self._file, 8), "little") if self._file >= 0 else None

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def energy_uj(folder: Path = RAPL) -> int | None:
    """The running total of the processor package's energy, where RAPL answers."""
    try:
        return int((folder / "energy_uj").read_text("ascii"))
    except (OSError, ValueError):
        return None


def energy_between(before: int | None, after: int | None, folder: Path = RAPL) -> int | None:
    """In uJ; the counter starts again from 0 at its largest value."""
    if before is None or after is None:
        return None
    if after >= before:
        return after - before
    try:
        return after - before + int((folder / "max_energy_range_uj").read_text("ascii"))
    except (OSError, ValueError):
        return None


def cpu_jiffies(path: Path = Path("/proc/stat")) -> tuple[int, int] | None:
    """All time of all cores, and the part that the hypervisor gave to somebody else."""
    try:
        fields = [int(word) for word in path.read_text("ascii").split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return (sum(fields), fields[7]) if len(fields) == 8 else None
