"""Runs stages through the store, one after the other. Other executors can stand in its place."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from edgekd.engine import lock
from edgekd.engine.events import Listener, Outcome, Progress
from edgekd.engine.faults import explained
from edgekd.engine.lock import Lock, Row
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates, S, Stage, Work, key_of, recipe
from edgekd.engine.store import Artifact, Store
from edgekd.engine.usage import Usage
from edgekd.errors import EdgekdError, UnavailableError


class Engine(Protocol):
    """
    What the chain sees: a builder that runs things, or a planner that says what would run. `trail` has stage, place and
    key of every call that there is a result of.
    """

    store: Store
    trail: list[dict[str, Any]]

    def call(
        self, stage: Stage[S], settings: S | None, inputs: Mapping[str, Result], at: Coordinates | None = None
    ) -> Result: ...

    def say(self, sentence: str) -> None:
        """Where things run: what a person may want to know of a choice that no stage makes."""


class Builder:
    """
    Answers every call with an artifact: from the store when its bytes are sound, else by running the stage.

    With a lock to `replay`, measurements are taken anew, decisions are the lock's, and `differences` collects
    where today's would have been others. `need` is where the digests in use are registered (see Usage).
    """

    def __init__(
        self,
        store: Store,
        listener: Listener,
        *,
        pipeline: str = "",
        replay: Lock | None = None,
        need: Path | None = None,
    ) -> None:
        self.store = store
        self.listener = listener
        self.trail: list[dict[str, Any]] = []  # one row a call: what the lock file is made of
        self.differences: list[str] = []
        self._pipeline = pipeline
        self._replay = replay
        self._need = need
        self._usage = Usage(store.root)

    def call(
        self, stage: Stage[S], settings: S | None, inputs: Mapping[str, Result], at: Coordinates | None = None
    ) -> Artifact:
        if settings is None or not all(isinstance(result, Artifact) for result in inputs.values()):
            raise EdgekdError(f"{stage.name}: a build has no pending settings or inputs")
        artifacts = {name: result for name, result in inputs.items() if isinstance(result, Artifact)}
        stage.check_inputs({name: artifact.kind for name, artifact in artifacts.items()})
        wanted = recipe(stage, settings, {name: a.digest for name, a in artifacts.items()})
        place = str(at or "")
        row = self._replay.row(stage.name, place) if self._replay else None
        start = time.perf_counter()
        self.listener.started(stage.name, place)
        with explained(stage.name, self.store.root, stage.memory):
            if row is not None and stage.nature == "decision":
                found, outcome = self._replayed(stage, settings, artifacts, wanted, place, row)
            else:
                found, outcome = self._find_or_run(stage, settings, artifacts, wanted, place)
        if row is not None and stage.nature == "pure" and found.digest != row.digest:
            self._differs(f"{stage.name} {place}".strip() + f" came out as {found.digest[:12]}, not {row.digest[:12]}")
        self.listener.finished(stage.name, place, outcome, time.perf_counter() - start)
        self.trail.append({"stage": stage.name, "nature": stage.nature, "at": place, "key": key_of(wanted),
                           "uses": wanted["uses"], "artifact": found})  # fmt: skip
        return found

    def say(self, sentence: str) -> None:
        self.listener.said(sentence)

    def _find_or_run(
        self, stage: Stage[S], settings: S, inputs: Mapping[str, Artifact], wanted: dict[str, Any], place: str
    ) -> tuple[Artifact, Outcome]:
        key = key_of(wanted)
        anew = self._replay is not None and stage.nature == "observation"
        if not anew and (found := self._find(stage.name, key)[0]) is not None:
            self._warn_again(stage.name, key)
            return found, "cached"
        with self.store.lock(key, waiting=lambda: self.listener.said(
            f"{stage.name}: another edgekd is at it in this workspace; waiting for its result"
        )):  # fmt: skip
            found, broken = (None, None) if anew else self._find(stage.name, key)  # made by another meanwhile?
            if found is not None:
                self._warn_again(stage.name, key)
                return found, "cached"
            if broken:
                self.listener.said(f"{broken}; making it again")
            return self._run(stage, settings, inputs, wanted, place), "ran"

    def _warn_again(self, stage: str, key: str) -> None:
        for sentence in (self.store.record(stage, key) or {}).get("warned", ()):
            self.listener.said(sentence)

    def _find(self, stage: str, key: str) -> tuple[Artifact | None, str | None]:
        record = self.store.record(stage, key)
        if record is not None and self._need is not None:
            with self._usage.gate():  # from here on it is either ours or already gone
                self._register(record["digest"])
        return self.store.find(stage, key)

    def _run(
        self, stage: Stage[S], settings: S, inputs: Mapping[str, Artifact], wanted: dict[str, Any], place: str
    ) -> Artifact:
        self.listener.running(stage.name, place)
        key = key_of(wanted)
        before = self.store.record(stage.name, key)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        clock = time.perf_counter()
        with self.store.work(key) as (out, scratch):
            progress = Progress(self.listener)
            stage.load()(settings, inputs, Work(out, scratch, progress))
            if not any(out.iterdir()):
                raise EdgekdError(f"{stage.name}: finished but wrote nothing to its output folder")
            note = {
                "stage": stage.name,
                "nature": stage.nature,
                "pipeline": self._pipeline,
                "recipe": wanted,
                "started": started,
                "seconds": round(time.perf_counter() - clock, 3),
                "cost": stage.cost(settings) if stage.cost else None,
                "warned": progress.warned,
            }
            made = self._add(stage, key, out, note)
        if before and stage.nature == "pure" and before["digest"] != made.digest:
            self.listener.said(
                f"{stage.name}: made again, it came out different ({before['digest'][:12]} -> {made.digest[:12]}); "
                "what follows runs again"
            )
        return made

    def _add(self, stage: Stage[S], key: str, folder: Path, note: dict[str, Any]) -> Artifact:
        with self._usage.gate():
            made = self.store.add(stage.name, key, stage.gives, folder, note)
            self._register(made.digest)
        return made

    def _register(self, digest: str) -> None:
        if self._need is not None:
            with self._need.open("a", encoding="utf-8") as file:
                file.write(f"{digest}\n")

    def _replayed(
        self, stage: Stage[S], settings: S, inputs: Mapping[str, Artifact], wanted: dict[str, Any], place: str, row: Row
    ) -> tuple[Artifact, Outcome]:
        """The lock's decision; today's is made too, and where it is another that is said."""
        try:
            today, _ = self._find_or_run(stage, settings, inputs, wanted, place)
        except EdgekdError as error:
            self._differs(f"{stage.name}: today it would end with: {error}")
        else:
            if today.digest == row.digest:
                return today, "replayed"
            self._differs(f"{stage.name}: today it would be {_told(today)}; the lock says {_told(row)}")
        key = f"locked-{row.digest}"
        with self.store.lock(key), self.store.work(key) as (out, _):
            for name, text in row.files.items():
                (out / lock.plain_name(name)).write_text(text, "utf-8")
            found = self._add(stage, key, out, {"stage": stage.name, "nature": stage.nature, "seconds": 0.0})
        if found.digest != row.digest:
            raise UnavailableError(
                f"{stage.name}: its files in the lock do not have the digest that the lock names; was it edited?"
            )
        return found, "replayed"

    def _differs(self, sentence: str) -> None:
        self.differences.append(sentence)
        self.listener.said(sentence)


def _told(decision: Artifact | Row) -> str:
    """What a decision says, short."""
    if isinstance(decision, Row):
        texts = decision.files
    else:
        texts = {path.name: path.read_text("utf-8") for path in decision.path.iterdir()}
    return " ".join(" ".join(texts[name].split()) for name in sorted(texts))[:200]
