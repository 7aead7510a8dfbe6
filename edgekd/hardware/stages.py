"""Settings of the measuring stages; nothing heavy is imported here."""

from __future__ import annotations

from edgekd.engine.stage import Stage
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.profile import Measuring
from edgekd.settings import Settings


class Compare(Settings):
    """All models of a set, each in its own runtime, as one observation; ratios are taken against each of `bases`."""

    cpu: Cpu
    measuring: Measuring
    bases: tuple[str, ...]


class CompareThere(Compare):
    device: str  # ssh://user@host:port
    versions: dict[str, str]  # of the runtimes that are installed there


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
