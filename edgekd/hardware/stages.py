"""Settings of the measuring stages; nothing heavy is imported here."""

from __future__ import annotations

from typing import Any

from edgekd.engine.stage import Stage
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.profile import Measuring
from edgekd.settings import Settings


class There(Settings):
    """A device over ssh, as it was when a build began."""

    address: str  # ssh://user@host:port
    versions: dict[str, str]  # of the runtimes that are installed there


class Compare(Settings):
    """All models of a set, each in its own runtime, as one observation; ratios are taken against each of `bases`."""

    cpu: Cpu
    measuring: Measuring
    bases: tuple[str, ...]


class CompareThere(Compare):
    there: There


COMPARE = Stage[Compare](
    "measure.compare",
    "edgekd.hardware.measure.compare:run",
    takes={"model.*": "exported"},
    gives="comparison",
    version=4,
    nature="observation",
    typical_s=7.0,
)
COMPARE_THERE = Stage[CompareThere](
    "measure.compare.there",
    "edgekd.hardware.remote.compare:run",
    takes={"model.*": "exported"},
    gives="comparison",
    nature="observation",
    typical_s=20.0,
)


def comparing(
    cpu: Cpu, measuring: Measuring, bases: tuple[str, ...], there: There | None
) -> tuple[Stage[Any], Compare]:
    """The stage that compares, here or there, and its settings."""
    if there is None:
        return COMPARE, Compare(cpu=cpu, measuring=measuring, bases=bases)
    return COMPARE_THERE, CompareThere(cpu=cpu, measuring=measuring, bases=bases, there=there)
