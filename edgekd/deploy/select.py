"""Which variant ships: the fastest that keeps the budget, decided on val and on one comparison."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgekd.budget import QUALITY, TEACHER, Verdict, at_least, worst
from edgekd.deploy.evaluate import correct
from edgekd.deploy.stages import Select
from edgekd.deploy.verdicts import accuracy, latency_and_size
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.hardware.measure import result
from edgekd.hardware.measure.result import Comparison
from edgekd.stats import Interval, paired_difference

SAME = Interval(1.0, 1.0, 1.0)
PREFERENCE = {"pass": 0, "inconclusive": 1, "fail": 2}


def run(settings: Select, inputs: Mapping[str, Artifact], work: Work) -> None:
    """Writes the name of the variant alone: its figures stay with the observations that they are from."""
    chosen = rank(settings, inputs)[0].name
    (work.out / "decision.json").write_text(json.dumps({"schema": 1, "variant": chosen}), "utf-8")


@dataclass(frozen=True)
class Ranked:
    name: str
    speedup: Interval  # over the base
    verdicts: tuple[Verdict, ...]
    never_slower: Verdict  # than the floor: the float graph
    refused: str | None = None  # by its exporter

    @property
    def place(self) -> tuple[bool, int, int, int, float]:
        """Quality comes before all other limits: what misses one of those is no reason to lose answers too."""
        return (
            self.refused is not None,
            *kept_limits(self.verdicts),
            PREFERENCE[self.never_slower.state],
            -self.speedup.value,
        )


def kept_limits(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    """How well accuracy and its like keep their limits, and then all of them theirs: the smaller the better."""
    lost = [verdict for verdict in verdicts if verdict.limit in QUALITY]
    return PREFERENCE[worst(lost)], PREFERENCE[worst(verdicts)]


def rank(settings: Select, inputs: Mapping[str, Artifact]) -> list[Ranked]:
    """The variants by what they answer right on val."""
    base = correct(inputs[f"val.{settings.base}"])

    def lost(name: str) -> list[Verdict]:
        return accuracy(settings.budget, paired_difference(base, correct(inputs[f"val.{name}"])))

    return ranked(settings, inputs, result.read(inputs["comparison"]), lost)


def ranked(
    settings: Select,
    inputs: Mapping[str, Artifact],
    comparison: Comparison,
    quality: Callable[[str], list[Verdict]],
) -> list[Ranked]:
    """
    What its exporter refused comes last. Variants that keep the budget come before those that cannot be decided,
    those before failing ones; then those that are surely no slower than the float graph; then the fastest.

    A failing variant comes first only where all fail: the report then says by how much, and the build ends with
    the exit code of its failure.
    """
    found = []
    for name in settings.variants:
        verdicts = quality(name) + latency_and_size(settings.budget, comparison, name)
        refused = inputs[f"model.{name}"].json("export.json")["refused"]
        speedup, over_floor = (_speedup(comparison, name, against) for against in (settings.base, settings.floor))
        never_slower = at_least(f"speedup_over_{settings.floor}", 1.0, *over_floor)
        found.append(Ranked(name, speedup, tuple(verdicts), never_slower, refused))
    return sorted(found, key=lambda one: one.place)


def _speedup(comparison: Comparison, name: str, base: str) -> Interval:
    return SAME if name == base else comparison.speedup_over[base][name]


def why_not(rejected: Ranked, chosen: Ranked, base: str = TEACHER) -> str:
    """The sentence beside a variant that does not ship."""
    if rejected.refused:
        return rejected.refused
    if rejected.place < chosen.place:
        return f"today it would: the lock says {chosen.name}"
    against = [str(verdict) for verdict in rejected.verdicts if verdict.state != "pass"]
    if against and worst(rejected.verdicts) != worst(chosen.verdicts):
        return "; ".join(against)
    if rejected.never_slower.state != "pass" and chosen.never_slower.state == "pass":
        return f"not shown to be no slower than the float graph: {rejected.never_slower}"
    ratio = chosen.speedup.value / rejected.speedup.value
    return f"{chosen.name} is {ratio:.2f} times as fast (both against {base}, in one comparison)"
