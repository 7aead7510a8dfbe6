"""What would run, and why it isn't cached: the chain again, with an engine that runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgekd.engine.stage import Coordinates, S, Stage, key_of, recipe
from edgekd.engine.store import Artifact, Store


@dataclass(frozen=True)
class Pending:
    """An artifact that is not there yet. What is decided from it cannot be known."""

    kind: str
    stage: str


Result = Artifact | Pending


def artifact(result: Result) -> Artifact:
    """Of a builder, which has everything that it was asked for."""
    assert isinstance(result, Artifact)
    return result


@dataclass(frozen=True)
class Step:
    """One call of the plan: `cached`, or to be run for `reason`, in about `seconds`."""

    stage: str
    at: str
    cached: bool
    reason: str
    seconds: float


class Planner:
    """Answers like the builder where the store can, and with `Pending` where it can't."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.steps: list[Step] = []
        self.trail: list[dict[str, Any]] = []  # of what is there already

    def call(
        self, stage: Stage[S], settings: S | None, inputs: Mapping[str, Result], at: Coordinates | None = None
    ) -> Result:
        """`settings` are None where they follow from something pending."""
        stage.check_inputs({name: result.kind for name, result in inputs.items()})
        waits = sorted({result.stage for result in inputs.values() if isinstance(result, Pending)})
        cached: Artifact | None = None
        reason = f"waits for {', '.join(waits)}" if waits else "its settings follow from what is not there yet"
        made = settings is not None and {n: r.digest for n, r in inputs.items() if isinstance(r, Artifact)}
        if settings is not None and made is not False:
            wanted = recipe(stage, settings, made)
            if not waits:
                key = key_of(wanted)
                cached, broken = self.store.find(stage.name, key)
                if cached:
                    self.trail.append({"stage": stage.name, "at": str(at or ""), "key": key})
                reason = broken or explain(wanted, self.store.records(stage.name))
            elif own := changes(wanted, self.store.records(stage.name), ignore_inputs=True):
                reason = f"{own}; {reason}"
        seconds = 0.0 if cached else expected_seconds(stage, settings, self.store)
        self.steps.append(Step(stage.name, str(at or ""), cached is not None, "" if cached else reason, seconds))
        return cached or Pending(stage.gives, stage.name)

    def say(self, sentence: str) -> None:
        """Nothing runs yet."""


def expected_seconds(stage: Stage[S], settings: S | None, store: Store) -> float:
    """By the newest runs of the stage here, scaled by its work; by a typical machine where it never ran."""
    runs = list(store.records(stage.name))[-5:]
    if stage.cost is None or settings is None:
        return sum(r["seconds"] for r in runs) / len(runs) if runs else stage.typical_s
    rates = [r["seconds"] / r["cost"] for r in runs if r.get("cost")]
    return stage.cost(settings) * (sum(rates) / len(rates) if rates else stage.typical_s)


def explain(wanted: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> str:
    return changes(wanted, records) or "never run"


def changes(wanted: Mapping[str, Any], records: Iterable[Mapping[str, Any]], *, ignore_inputs: bool = False) -> str:
    """What differs from the nearest earlier run: `temperature 4.0 -> 2.0`; empty when there is none."""
    best: list[str] | None = None
    for record in (record for record in records if "recipe" in record):
        different = [
            text
            for text in _differences(record["recipe"], wanted)
            if not (ignore_inputs and text.startswith("inputs."))
        ]
        if best is None or len(different) <= len(best):
            best = different
    return ", ".join(_shorten(text) for text in best[:4]) + (", ..." if len(best) > 4 else "") if best else ""


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _differences(a, b, f"{path}.{index}")
    elif old != new:
        yield f"{path} {old} -> {new}"


def _shorten(text: str) -> str:
    path, _, values = text.partition(" ")
    if path.startswith("inputs."):
        return f"its input {path.removeprefix('inputs.')!r} changed"
    return f"{path.removeprefix('settings.')} {values}"
