"""What a search cost, beside what it would cost to distil every candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.engine.executor import Engine
from edgekd.pipeline import Pipeline
from edgekd.racing import lengths

PARTS = {
    "search.score": "scores",
    "search.subnets": "scores",
    "search.subnets.scores": "scores",
    "search.study": "study",
    "search.supernet": "supernet",
    "search.extract": "supernet",
    "search.candidate": "latencies",
    "measure.compare": "latencies",
    "distill.float": "short distillations",
    "distill.judge": "short distillations",
}


def seconds_of(engine: Engine, before: int) -> list[tuple[str, str, float]]:
    """Stage, place and time of what was called after the first `before` calls, as the store has it from when it ran."""
    rows = engine.trail[before:]
    records = [engine.store.record(row["stage"], row["key"]) or {} for row in rows]
    return [
        (row["stage"], row["at"], float(record.get("seconds", 0.0))) for row, record in zip(rows, records, strict=True)
    ]


def spent(
    took: Sequence[tuple[str, str, float]], pipeline: Pipeline, macs: Mapping[str, float], tried: int
) -> dict[str, Any]:
    """
    Seconds by part and in all; and what distilling all candidates, `tried` of them, would take, by the short ones.

    `macs` are those of the candidates that were scored. What was cached counts with the time of the attempt that
    finished it.
    """
    parts: dict[str, float] = {}
    for stage, _, seconds in took:
        if name := PARTS.get(stage):
            parts[name] = parts.get(name, 0.0) + seconds
    total = sum(parts.values())
    all_s = _all_trained_s(took, pipeline, macs, tried)
    return {
        "seconds": {name: round(seconds, 1) for name, seconds in parts.items()},
        "total_s": round(total, 1),
        "all_trained_s": all_s and round(all_s),
        "times_less": all_s / total if all_s and total else None,
    }


def _all_trained_s(
    took: Sequence[tuple[str, str, float]], pipeline: Pipeline, macs: Mapping[str, float], tried: int
) -> float | None:
    """
    By the first round's seconds a multiply-accumulate and epoch; None where there was none.

    Small nets take longer by this measure than large ones, which are those that race: it is rather too little.
    """
    every = {at.split("/")[-2]: s for stage, at, s in took if stage == "distill.float" and at.endswith("/round 1")}
    first = {name: seconds for name, seconds in every.items() if name in macs}  # a replay's race is of another study
    if not first:
        return None
    (_, epochs), *_ = lengths(pipeline)
    rate = sum(first.values()) / (epochs * sum(macs[name] for name in first))
    return rate * pipeline.distill.epochs * tried * sum(macs.values()) / len(macs)
