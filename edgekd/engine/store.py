"""
The content-addressed store behind `edgekd build`: what makes it resume and cache.

    objects/<digest>/             files of one artifact, named by what is in them; its date is when it was last used
    runs/<stage>/<key>/<n>.json   what ran on what and gave which digest; the last one counts
    work/<key>/out, scratch       what a running stage writes; scratch outlives a crash
    locks/<key>                   one process a key
    running/<pid>-<id>            the digests that a living build needs
    tmp/                          temporary files of Python and torch

A key is made of what went in, a digest of what came out. So a stage that is run again and gives the
same bytes leaves everything after it cached (early cutoff, as DVC's run cache).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from edgekd.engine.digest import digest_folder
from edgekd.errors import ConfigError
from edgekd.formats import CURRENT, upgraded


@dataclass(frozen=True)
class Artifact:
    """Immutable files in the store. `digest` is over names and bytes, never over dates or paths."""

    kind: str  # "dataset", "checkpoint", "onnx", ...
    digest: str
    path: Path

    def file(self, name: str) -> Path:
        return self.path / name

    def json(self, name: str) -> Any:
        return json.loads(self.file(name).read_text("utf-8"))


@dataclass(frozen=True)
class Store:
    root: Path

    def find(self, stage: str, key: str) -> tuple[Artifact | None, str | None]:
        """The artifact of a finished run, its bytes checked; or none, and what is wrong if one should be there."""
        record = self.record(stage, key)
        if record is None:
            return None, None
        kind, digest = record["kind"], record["digest"]
        path = self.root / "objects" / digest
        if not path.is_dir():
            return None, f"{stage}: its result {digest[:12]} is gone from {self.root}"
        if digest_folder(kind, path) != digest:
            return None, f"{stage}: its result {digest[:12]} in {self.root} was changed or cut short"
        with suppress(OSError):  # a read-only workspace can still be read
            os.utime(path)  # last used: what pruning goes by
        return Artifact(kind, digest, path), None

    def record(self, stage: str, key: str) -> dict[str, Any] | None:
        """The newest record of a key that can be read."""
        for path in sorted((self.root / "runs" / stage / key).glob("[0-9]*.json"), reverse=True):
            record = _read_record(path)
            if record is not None:
                return record
        return None

    def history(self, stage: str, key: str) -> list[dict[str, Any]]:
        """Every record of a key that can be read, the oldest first: observations are appended."""
        paths = sorted((self.root / "runs" / stage / key).glob("[0-9]*.json"))
        return [record for path in paths if (record := _read_record(path))]

    def keys(self, stage: str) -> list[str]:
        folder = self.root / "runs" / stage
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []

    def records(self, stage: str) -> Iterator[dict[str, Any]]:
        """The newest record of every key of a stage, the latest run last."""
        folder = self.root / "runs" / stage
        keys = sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime_ns) if folder.is_dir() else []
        yield from (record for key in keys if (record := self.record(stage, key.name)))

    def add(self, stage: str, key: str, kind: str, folder: Path, note: dict[str, Any]) -> Artifact:
        """Move `folder` into the store. Either all of it is there afterwards or none of it."""
        digest = digest_folder(kind, folder)
        path = self.root / "objects" / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        _flush(folder)
        with self.lock(digest):  # two keys may give one digest at the same moment
            if path.is_dir() and digest_folder(kind, path) != digest:
                shutil.rmtree(path)
            if path.is_dir():
                shutil.rmtree(folder)
            else:
                folder.replace(path)
        runs = self.root / "runs" / stage / key
        runs.mkdir(parents=True, exist_ok=True)
        number = max((int(path.stem) for path in runs.glob("[0-9]*.json")), default=0) + 1
        record = {"schema": CURRENT["record"], "kind": kind, "digest": digest, **note}
        write_atomically(runs / f"{number:04d}.json", json.dumps(record, indent=1, sort_keys=True))
        return Artifact(kind, digest, path)

    def stages(self) -> list[str]:
        folder = self.root / "runs"
        return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []

    @contextmanager
    def lock(self, name: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """
        Held by one process at a time; the system lets go of it when that process dies, however it dies.

        `waiting` is called once when somebody else has held it for a second.
        """
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / name)
        try:
            lock.acquire(timeout=1)
        except Timeout:
            waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def work(self, key: str) -> Iterator[tuple[Path, Path]]:
        """`out`, empty, and `scratch`, as the last attempt left it; both gone when the block ends well."""
        folder = self.root / "work" / key
        out, scratch = folder / "out", folder / "scratch"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        scratch.mkdir(exist_ok=True)
        yield out, scratch
        shutil.rmtree(folder, ignore_errors=True)


def write_atomically(path: Path, text: str) -> None:
    """The file is the old one or the new one, never half of it, whatever happens on the way."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    try:
        return upgraded("record", record, str(path)) if isinstance(record, dict) else None
    except ConfigError:
        return None  # of a newer edgekd: not ours to read, and not in the way


def _flush(folder: Path) -> None:
    for path in (p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
