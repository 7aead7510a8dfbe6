"""
The table of what nets of a space took on a device: a file that people keep, and that predictions are fitted to.

It holds whole nets, by what each of several processes measured, and says what it is of: CPU, runtime, settings,
versions, precision, image. Anywhere else it is refused: the same net takes another time there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from pydantic import Field

from edgekd.engine.digest import digest_of
from edgekd.engine.store import write_atomically
from edgekd.errors import ConfigError, UnavailableError
from edgekd.formats import CURRENT, read_json
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.here import takes_floats
from edgekd.hardware.kernels import Image
from edgekd.hardware.specs import Runnable
from edgekd.models.shape import NetShape, resnet
from edgekd.settings import Settings, validate

BATCH = 40  # nets that run interleaved in one process
YARDSTICK = resnet(8)  # in every batch: what it takes there aligns them


class Conditions(Settings):
    """All that a latency depends on beside the net."""

    device: Cpu
    runtime: Runnable
    versions: dict[str, str]  # of the runtime's packages
    quantised: bool
    image: Image
    classes: int = Field(ge=1)

    def __str__(self) -> str:
        precision = "int8" if self.quantised else "fp32"
        return f"{self.runtime.name} {precision}, {self.runtime.threads} threads, {' x '.join(map(str, self.image))}"

    @property
    def file_name(self) -> str:
        precision = "int8" if self.quantised else "fp32"
        return f"{self.runtime.name}-{precision}-{digest_of(self.model_dump(mode='json'))[:12]}.json"


class Net(Settings):
    shape: NetShape
    least_ms: tuple[float, ...] = ()  # of each process that measured it


class Batch(Settings):
    """Nets that ran interleaved in the same processes, with the yardstick."""

    nets: tuple[Net, ...] = Field(min_length=1)
    yardstick_ms: tuple[float, ...] = ()

    def with_process(self, yardstick_ms: float, times_ms: tuple[float, ...]) -> Batch:
        """Also what one more process measured: a time of the yardstick, and of each net."""
        nets = tuple(
            net.model_copy(update={"least_ms": (*net.least_ms, time)})
            for net, time in zip(self.nets, times_ms, strict=True)
        )
        return Batch(nets=nets, yardstick_ms=(*self.yardstick_ms, yardstick_ms))


class LatencyTable(Settings):
    schema_version: int = Field(default=CURRENT["latencies"], alias="schema")
    conditions: Conditions
    batches: tuple[Batch, ...] = ()

    def latencies_ms(self) -> dict[NetShape, float]:
        """
        Of every net that was measured: the least of its processes, over its batch's yardstick, times what that took.

        A neighbour on the same core only ever adds, here for seconds at a time: of 320 nets, the medians of two passes
        differed by 10 % (median; ONNX Runtime int8), their least times by 1.7 %. Medians lie above it.
        """
        done = [batch for batch in self.batches if batch.yardstick_ms]
        usual = float(np.median([min(batch.yardstick_ms) for batch in done])) if done else 0.0
        return {net.shape: min(net.least_ms) * usual / min(batch.yardstick_ms) for batch in done for net in batch.nets}

    def planned(self, shapes: Sequence[NetShape], size: int = BATCH) -> LatencyTable:
        """With batches of `size` for those shapes that are not there yet."""
        known = {net.shape for batch in self.batches for net in batch.nets}
        new = [Net(shape=shape) for shape in dict.fromkeys(shapes) if shape not in known]
        batches = (Batch(nets=tuple(new[start : start + size])) for start in range(0, len(new), size))
        return self.model_copy(update={"batches": (*self.batches, *batches)})

    def due(self, passes: int) -> Iterator[tuple[int, int]]:
        """The pass and the batch of each process that has not run yet: all batches once before any runs twice."""
        for number in range(passes):
            for batch, found in enumerate(self.batches):
                if len(found.yardstick_ms) <= number:
                    yield number, batch

    def with_batch(self, number: int, batch: Batch) -> LatencyTable:
        return self.model_copy(update={"batches": (*self.batches[:number], batch, *self.batches[number + 1 :])})

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, self.model_dump_json(by_alias=True))


def conditions(
    device: Cpu,
    runtime: Runnable,
    image: Image,
    classes: int,
    *,
    quantised: bool,
    versions: Mapping[str, str] | None = None,
) -> Conditions:
    """
    Those at hand; of a device elsewhere, with the `versions` that it has.

    Raises ConfigError where edgekd writes no float files for the runtime, UnavailableError where it is not installed.
    """
    if not quantised and not takes_floats(runtime):
        raise ConfigError(f"{runtime.name}: edgekd writes only int8 files for it; leave --float out")
    try:
        versions = versions or {package: version(package) for package in runtime.packages}
    except PackageNotFoundError as error:
        raise UnavailableError(f"runtime {runtime.name} is not installed ({error}); edgekd devices detect") from None
    return Conditions(
        device=device, runtime=runtime, versions=dict(versions), quantised=quantised, image=image, classes=classes
    )


def read_table(path: Path, here: Conditions) -> LatencyTable:
    """Raises ConfigError where it is no such file, UnavailableError where it is of anything else than `here`."""
    table = validate(LatencyTable, read_json("latencies", path), str(path))
    if why := _differs(table.conditions, here):
        raise UnavailableError(
            f"{path}: its latencies are of {why}: the same net takes another time here; run edgekd devices calibrate"
        )
    return table


def opened(path: Path, here: Conditions) -> LatencyTable:
    """The table that is there, or a new one."""
    return read_table(path, here) if path.exists() else LatencyTable(schema=CURRENT["latencies"], conditions=here)


def _differs(table: Conditions, here: Conditions) -> str | None:
    """The first thing that the table has otherwise, with both values."""
    for name in Conditions.model_fields:
        old, new = getattr(table, name), getattr(here, name)
        if old != new:
            return _named(name, old, new)
    return None


def _named(name: str, old: object, new: object) -> str:
    if isinstance(old, Settings) and isinstance(new, Settings) and type(old) is type(new):
        inner = next(field for field in type(old).model_fields if getattr(old, field) != getattr(new, field))
        return f"{name}.{inner} {getattr(old, inner)}, and here it is {getattr(new, inner)}"
    return f"{name} {old}, and here it is {new}"
