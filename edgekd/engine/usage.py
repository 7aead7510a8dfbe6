"""Which objects running builds need, so that nobody prunes them from under them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout


class Usage:
    """
    One file a running build, one digest a line, held locked while the build lives.

    A file that nobody holds is of a build that died: it protects nothing and is swept away. `gate` is taken by
    whoever registers a digest and by whoever prunes, so that an object is either registered or already gone.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / "running"
        self._gate = root / "locks" / "gate"

    @contextmanager
    def gate(self) -> Iterator[None]:
        self._gate.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._gate):
            yield

    @contextmanager
    def registered(self) -> Iterator[Path]:
        """The file to which a build appends what it needs; gone when the block ends."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{os.getpid()}-{uuid4().hex[:8]}"
        lock = FileLock(f"{path}.lock")
        with lock:
            path.touch()
            try:
                yield path
            finally:
                path.unlink(missing_ok=True)
        Path(lock.lock_file).unlink(missing_ok=True)

    def needed(self) -> set[str]:
        """The digests that living builds have registered; what dead ones left is swept."""
        found: set[str] = set()
        for path in self._folder.glob("*") if self._folder.is_dir() else ():
            if path.suffix == ".lock":
                continue
            if _is_held(Path(f"{path}.lock")):
                with suppress(FileNotFoundError):  # it has just finished
                    found |= set(path.read_text("utf-8").split())
            else:
                path.unlink(missing_ok=True)
                Path(f"{path}.lock").unlink(missing_ok=True)
        return found


def _is_held(path: Path) -> bool:
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
