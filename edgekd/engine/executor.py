"""Runs stages through the store, one after the other. Other executors can stand in its place."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from edgekd.engine.events import Listener, Outcome, Progress
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates, S, Stage, Work, key_of, recipe
from edgekd.engine.store import Artifact, Store
from edgekd.errors import EdgekdError, UnavailableError

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


class Engine(Protocol):
    """What the chain sees: a builder that runs things, or a planner that says what would run."""

    def call(
        self, stage: Stage[S], settings: S | None, inputs: Mapping[str, Result], at: Coordinates | None = None
    ) -> Result: ...


class Builder:
    """Answers every call with an artifact: from the store when its bytes are sound, else by running the stage."""

    def __init__(self, store: Store, listener: Listener) -> None:
        self.store = store
        self.listener = listener
        self.trail: list[dict[str, Any]] = []  # one row a call: what the lock file and the report are made of

    def call(
        self, stage: Stage[S], settings: S | None, inputs: Mapping[str, Result], at: Coordinates | None = None
    ) -> Artifact:
        if settings is None or not all(isinstance(result, Artifact) for result in inputs.values()):
            raise EdgekdError(f"{stage.name}: a build has no pending settings or inputs")
        artifacts = {name: result for name, result in inputs.items() if isinstance(result, Artifact)}
        stage.check_inputs({name: artifact.kind for name, artifact in artifacts.items()})
        wanted = recipe(stage, settings, {name: a.digest for name, a in artifacts.items()})
        key, place = key_of(wanted), str(at or "")
        start = time.perf_counter()
        self.listener.started(stage.name, place)
        with self._storage(stage.name):
            found, outcome = self._find_or_run(stage, settings, artifacts, wanted)
        self.listener.finished(stage.name, place, outcome, time.perf_counter() - start)
        self.trail.append({"stage": stage.name, "nature": stage.nature, "at": place, "key": key,
                           "uses": wanted["uses"], "artifact": found})  # fmt: skip
        return found

    def _find_or_run(
        self, stage: Stage[S], settings: S, inputs: Mapping[str, Artifact], wanted: dict[str, Any]
    ) -> tuple[Artifact, Outcome]:
        key = key_of(wanted)
        found, _ = self.store.find(stage.name, key)
        if found is not None:
            return found, "cached"
        with self.store.lock(key):
            found, broken = self.store.find(stage.name, key)  # another process may have made it meanwhile
            if found is not None:
                return found, "cached"
            if broken:
                self.listener.said(f"{broken}; making it again")
            return self._run(stage, settings, inputs, wanted), "ran"

    def _run(self, stage: Stage[S], settings: S, inputs: Mapping[str, Artifact], wanted: dict[str, Any]) -> Artifact:
        key = key_of(wanted)
        before = self.store.record(stage.name, key)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        clock = time.perf_counter()
        with self.store.work(key) as (out, scratch):
            stage.load()(settings, inputs, Work(out, scratch, Progress(self.listener)))
            if not any(out.iterdir()):
                raise EdgekdError(f"{stage.name}: finished but wrote nothing to its output folder")
            note = {
                "stage": stage.name,
                "nature": stage.nature,
                "recipe": wanted,
                "started": started,
                "seconds": round(time.perf_counter() - clock, 3),
                "cost": stage.cost(settings) if stage.cost else None,
            }
            made = self.store.add(stage.name, key, stage.gives, out, note)
        if before and stage.nature == "pure" and before["digest"] != made.digest:
            self.listener.said(
                f"{stage.name}: made again, it came out different ({before['digest'][:12]} -> {made.digest[:12]}); "
                "what follows runs again"
            )
        return made

    @contextmanager
    def _storage(self, stage: str) -> Iterator[None]:
        """A disk that is full, read-only or gone is the environment's fault: said with the way out, exit code 6."""
        try:
            yield
        except OSError as error:
            root = self.store.root
            if error.errno in DISK or str(error.filename or "").startswith(str(root)):
                raise UnavailableError(
                    f"{stage}: cannot write to {root}: {error.strerror}; free some space, make it writable, or choose "
                    "another place with --workspace; finished stages are kept"
                ) from error
            raise
