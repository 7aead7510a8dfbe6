"""What a workspace holds, whether it is sound, and what may go."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.engine import lock as locks
from edgekd.engine.digest import digest_folder
from edgekd.engine.store import Store
from edgekd.engine.usage import Usage
from edgekd.errors import EdgekdError

ABANDONED_S = 30 * 86_400  # a checkpoint of an interrupted stage that nobody came back to


@dataclass(frozen=True)
class Entry:
    """One object of the store, and the runs that gave it. `idle_s` is the time since a build last used it."""

    digest: str
    kind: str
    stages: tuple[str, ...]
    pipelines: tuple[str, ...]
    size_bytes: int
    idle_s: float

    @property
    def is_orphan(self) -> bool:
        return not self.stages


def entries(store: Store) -> list[Entry]:
    """Every object, the least recently used first."""
    made: dict[str, list[tuple[str, str, str]]] = {}
    for stage in store.stages():
        for record in (record for key in store.keys(stage) for record in store.history(stage, key)):
            row = (stage, str(record.get("pipeline") or ""), record["kind"])
            made.setdefault(record["digest"], []).append(row)
    folder = store.root / "objects"
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        rows = made.get(path.name, [])
        found.append(
            Entry(
                digest=path.name,
                kind=rows[0][2] if rows else "orphan",
                stages=tuple(sorted({stage for stage, _, _ in rows})),
                pipelines=tuple(sorted({name for _, name, _ in rows if name})),
                size_bytes=size_of(path),
                idle_s=max(0.0, time.time() - path.stat().st_mtime),  # noqa: TID251  against a file's own date
            )
        )
    return sorted(found, key=lambda entry: (-entry.idle_s, entry.digest))


def unsound(store: Store) -> list[Entry]:
    """The objects whose bytes are not those that their digest says. They would be made again when next needed."""
    return [e for e in entries(store) if digest_folder(e.kind, store.root / "objects" / e.digest) != e.digest
            and not e.is_orphan]  # fmt: skip


def missing(store: Store) -> dict[str, str]:
    """The digests whose object is gone although a run says that it is there, each with its stage."""
    records = ((stage, record["digest"]) for stage in store.stages() for record in store.records(stage))
    return {digest: stage for stage, digest in records if not (store.root / "objects" / digest).is_dir()}


def needed_by_locks(folders: Iterable[Path]) -> set[str]:
    """The digests named by every edgekd.lock below the folders."""
    found: set[str] = set()
    for folder in folders:
        for path in folder.rglob("edgekd.lock") if folder.is_dir() else ():
            try:
                found |= {row.digest for row in locks.read(path).rows}
            except EdgekdError:
                continue  # not ours, or broken: it protects nothing that could be named
    return found


def prune(
    store: Store,
    *,
    keep: Sequence[Path] = (),
    older_than_s: float | None = None,
    max_bytes: int | None = None,
    pipeline: str | None = None,
    kind: str | None = None,
    dry_run: bool = False,
) -> list[Entry]:
    """
    Remove objects and say which.

    Orphans always go. Of the others, with `pipeline` or `kind` only those count; of them what was idle for longer
    than `older_than_s`, or (least recently used first) as many as bring the store under `max_bytes`; all of them
    where neither is given. What a running build or a lock below `keep` needs is never touched.
    """
    usage = Usage(store.root)
    with usage.gate():
        safe = usage.needed() | needed_by_locks(keep)
        everything = entries(store)
        gone = [e for e in everything if e.is_orphan and e.digest not in safe]
        chosen = [
            e
            for e in everything
            if not e.is_orphan and e.digest not in safe
            and (pipeline is None or pipeline in e.pipelines)
            and (kind is None or kind == e.kind)
            and (older_than_s is None or e.idle_s > older_than_s)
        ]  # fmt: skip
        if max_bytes is not None:
            chosen = _until_fits(chosen, sum(e.size_bytes for e in everything) - sum(e.size_bytes for e in gone),
                                 max_bytes)  # fmt: skip
        if not dry_run:
            for entry in gone + chosen:
                _remove(store.root / "objects" / entry.digest)
            _sweep(store)
            _sweep_scratch(store, ABANDONED_S if older_than_s is None else older_than_s)
        return gone + chosen


def size_of(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _sweep_scratch(store: Store, older_than_s: float) -> None:
    """What interrupted stages left, once nobody is at it and it is old."""
    for path in (store.root / "work").glob("*"):
        idle_s = time.time() - path.stat().st_mtime  # noqa: TID251  against a file's own date
        if idle_s > older_than_s:
            with store.lock(path.name):
                shutil.rmtree(path, ignore_errors=True)


def _until_fits(oldest_first: list[Entry], total: int, max_bytes: int) -> list[Entry]:
    taken = []
    for entry in oldest_first:
        if total <= max_bytes:
            break
        taken.append(entry)
        total -= entry.size_bytes
    return taken


def _remove(path: Path) -> None:
    """Rename first: a reader finds the object whole or not at all."""
    doomed = path.with_name(f".{path.name}")
    path.replace(doomed)
    shutil.rmtree(doomed)


def _sweep(store: Store) -> None:
    """Half-removed objects, and runs that point at nothing."""
    for path in (store.root / "objects").glob(".*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in (store.root / "runs").glob("*/*/*.json"):
        try:
            digest = json.loads(path.read_text("utf-8"))["digest"]
        except (OSError, ValueError, KeyError):
            digest = ""
        if not (store.root / "objects" / digest).is_dir() or not digest:
            path.unlink(missing_ok=True)
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
