"""Which variant goes to a device elsewhere: what keeps the budget, then what its compiler calls fastest, or least."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgekd.budget import TEACHER, Verdict, worst
from edgekd.deploy import exporter
from edgekd.deploy.evaluate import correct
from edgekd.deploy.select import kept_limits
from edgekd.deploy.stages import SelectCompiled
from edgekd.deploy.verdicts import accuracy, compiled
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import UnsupportedError
from edgekd.stats import paired_difference


def run(settings: SelectCompiled, inputs: Mapping[str, Artifact], work: Work) -> None:
    """Raises UnsupportedError where no variant may ship: nothing else runs on the device."""
    decide(rank(settings, inputs)[0], work)


def decide(first: Ranked, work: Work) -> None:
    """Raises UnsupportedError."""
    if first.refused:
        raise UnsupportedError(f"{first.name}: {first.refused}")
    (work.out / "decision.json").write_text(json.dumps({"schema": 1, "variant": first.name}), "utf-8")


@dataclass(frozen=True)
class Ranked:
    name: str
    verdicts: tuple[Verdict, ...]
    latency_ms: float | None
    size_bytes: int
    refused: str | None

    @property
    def place(self) -> tuple[bool, int, int, float, int]:
        return (
            self.refused is not None,
            *kept_limits(self.verdicts),
            self.latency_ms or 0.0,  # of all of them, or of none
            self.size_bytes,
        )


def rank(settings: SelectCompiled, inputs: Mapping[str, Artifact]) -> list[Ranked]:
    base = correct(inputs[f"val.{TEACHER}"])

    def lost(name: str) -> list[Verdict]:
        return accuracy(settings.budget, paired_difference(base, correct(inputs[f"val.{name}"])))

    return ranked(settings, inputs, lost)


def ranked(
    settings: SelectCompiled, inputs: Mapping[str, Artifact], lost: Callable[[str], Sequence[Verdict]]
) -> list[Ranked]:
    """
    What its exporter refused comes last, then what loses answers, then what does not keep the other limits. Of the
    rest the fastest by its compiler's estimate is first, and the smallest where there is none.
    """
    files = {name.removeprefix("model."): model for name, model in inputs.items() if name.startswith("model.")}
    costs = {name: exporter.costs(model) for name, model in files.items()}
    sizes = {name: size_bytes(model) for name, model in files.items()}
    found = []
    for name in settings.variants:
        verdicts, _ = compiled(settings.budget, settings.room, costs, sizes, name)
        own = costs[name]
        found.append(
            Ranked(
                name, (*lost(name), *verdicts), own.latency_ms if own else None, sizes[name],
                exporter.read(files[name])["refused"],
            )
        )  # fmt: skip
    return sorted(found, key=lambda ranked: ranked.place)


def size_bytes(model: Artifact) -> int:
    """Of the file that the device opens."""
    return exporter.entry(model).stat().st_size


def why_not(rejected: Ranked, chosen: Ranked) -> str:
    """The sentence beside a variant that does not go."""
    if rejected.refused:
        return rejected.refused
    if rejected.place < chosen.place:
        return f"today it would: the lock says {chosen.name}"
    against = [str(verdict) for verdict in rejected.verdicts if verdict.state != "pass"]
    if against and worst(rejected.verdicts) != worst(chosen.verdicts):
        return "; ".join(against)
    if rejected.latency_ms and chosen.latency_ms:
        return (
            f"{chosen.name} is {rejected.latency_ms / chosen.latency_ms:.2f} times as fast by the compiler's estimate"
        )
    return f"{chosen.name} is {rejected.size_bytes / chosen.size_bytes:.2f} times as small; neither's time is known"
