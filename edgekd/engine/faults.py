"""Faults of the environment, said with the way out."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekd.errors import UnavailableError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)  # whichever path they name


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
        reason = _disk(error, root)
        if reason is None:
            raise
        raise UnavailableError(
            f"{what}: cannot use the workspace {root}: {reason}; free some space, make it writable, or choose another "
            "place with --workspace; finished stages are kept"
        ) from error


def _is_memory(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or any(
        sentence in str(error) for sentence in ("can't allocate memory", "Failed to allocate memory")
    )


def _disk(error: Exception, root: Path) -> str | None:
    """What the system says of the disk, or None for an error of another kind."""
    if isinstance(error, OSError):
        # safetensors puts the path into the sentence alone
        named = [str(name) for name in (error.filename, error.filename2) if name] or re.findall(r"(/\S+)", str(error))
        ours = any(Path(name).absolute().is_relative_to(root.absolute()) for name in named)
        return error.strerror or str(error) if ours or error.errno in FULL else None
    sentences = ("No space left on device", "Read-only file system", "File too large", "Disk quota exceeded")
    return next((sentence for sentence in sentences if sentence in str(error)), None)
