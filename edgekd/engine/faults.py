"""Faults of the environment, said with the way out."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekd.errors import UnavailableError

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


@contextmanager
def explained(what: str, root: Path, memory: str | None = None) -> Iterator[None]:
    """
    Memory that runs out in `what`, and a workspace at `root` that is full, read-only or gone, become exit code 6.

    `memory` is the setting to lower. Libraries wrap these faults in errors of their own: torch says "can't allocate
    memory" in a RuntimeError, safetensors "No space left on device" in an error that is no OSError.
    """
    try:
        yield
    except UnavailableError:
        raise
    except Exception as error:
        if _is_memory(error):
            less = f"lower {memory}" if memory else "close what else runs on this machine"
            raise UnavailableError(f"{what}: out of memory; {less}; finished stages are kept") from error
        reason = _disk(error, str(root))
        if reason is None:
            raise
        raise UnavailableError(
            f"{what}: cannot use the workspace {root}: {reason}; free some space, make it writable, or choose another "
            "place with --workspace; finished stages are kept"
        ) from error


def _is_memory(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)


def _disk(error: Exception, root: str) -> str | None:
    """What the system says of the disk, or None for an error of another kind."""
    if isinstance(error, OSError):
        # safetensors puts the path into the sentence alone
        ours = root in f"{error.filename} {error.filename2} {error}"
        return error.strerror or str(error) if ours or error.errno in DISK else None
    for sentence in ("No space left on device", "Read-only file system"):
        if sentence in str(error):
            return sentence
    return None
