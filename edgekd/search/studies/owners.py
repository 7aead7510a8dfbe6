"""Which process has a trial under way, and whether that process is still there."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

BOOT = Path("/proc/sys/kernel/random/boot_id")


def this_process() -> dict[str, Any]:
    """Host, process id, and when that process was started: ids come again, ids with a start don't."""
    pid = os.getpid()
    asked = datetime.now(UTC).isoformat()
    return {"host": socket.gethostname(), "pid": pid, "started": started(pid), "asked": asked}


def is_gone(owner: Mapping[str, Any], abandoned_after_h: float) -> bool:
    """
    Whether nobody will tell the trial of this owner.

    Of a process on this machine that is certain; one on another machine counts as gone when it asked for the trial
    more than `abandoned_after_h` ago.
    """
    if owner["host"] == socket.gethostname():
        return bool(started(int(owner["pid"])) != owner["started"])
    return datetime.now(UTC) - datetime.fromisoformat(owner["asked"]) > timedelta(hours=abandoned_after_h)


def started(pid: int) -> str | None:
    """A mark of the process's start, or None where there is no such process; where /proc is missing, only "there"."""
    if not BOOT.exists():
        return "there" if _answers(pid) else None
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    if after_name[0] in "ZX":  # killed, and its parent has not asked how it ended
        return None
    return f"{BOOT.read_text('ascii').strip()}/{after_name[19]}"


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
