"""Which variant ships: the fastest that keeps the budget, decided on val and on one comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekd.budget import TEACHER, Budget, Verdict, worst
from edgekd.deploy.evaluate import correct
from edgekd.deploy.stages import Select
from edgekd.deploy.verdicts import accuracy, latency_and_size
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.hardware.measure import result
from edgekd.stats import Interval, paired_difference

PREFERENCE = {"pass": 0, "inconclusive": 1, "fail": 2}


def run(settings: Select, inputs: Mapping[str, Artifact], work: Work) -> None:
    """Writes the name of the variant alone: its figures stay with the observations that they are from."""
    chosen = rank(settings.budget, settings.variants, inputs)[0].name
    (work.out / "decision.json").write_text(json.dumps({"schema": 1, "variant": chosen}), "utf-8")


@dataclass(frozen=True)
class Ranked:
    name: str
    speedup: Interval  # over the teacher's fp32
    verdicts: tuple[Verdict, ...]
    refused: str | None = None  # by its exporter

    @property
    def place(self) -> tuple[bool, int, float]:
        return self.refused is not None, PREFERENCE[worst(self.verdicts)], -self.speedup.value


def rank(budget: Budget, variants: Sequence[str], inputs: Mapping[str, Artifact]) -> list[Ranked]:
    """
    What its exporter refused comes last. Variants that pass come before those that cannot be decided, those before
    failing ones; then the fastest.

    A failing variant comes first only where all fail: the report then says by how much, and the build ends with
    the exit code of its failure.
    """
    comparison = result.read(inputs["comparison"])
    base = correct(inputs[f"val.{TEACHER}"])
    found = []
    for name in variants:
        change = paired_difference(base, correct(inputs[f"val.{name}"]))
        verdicts = accuracy(budget, change) + latency_and_size(budget, comparison, name)
        refused = inputs[f"model.{name}"].json("export.json")["refused"]
        found.append(Ranked(name, comparison.speedup_over[TEACHER][name], tuple(verdicts), refused))
    return sorted(found, key=lambda ranked: ranked.place)


def why_not(rejected: Ranked, chosen: Ranked) -> str:
    """The sentence beside a variant that does not ship."""
    if rejected.refused:
        return rejected.refused
    if rejected.place < chosen.place:
        return f"today it would: the lock says {chosen.name}"
    against = [str(verdict) for verdict in rejected.verdicts if verdict.state != "pass"]
    if against and worst(rejected.verdicts) != worst(chosen.verdicts):
        return "; ".join(against)
    ratio = chosen.speedup.value / rejected.speedup.value
    return f"{chosen.name} is {ratio:.2f} times as fast (both against {TEACHER}, in one comparison)"
