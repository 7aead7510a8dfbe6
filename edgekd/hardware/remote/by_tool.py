"""A model timed on a device by the runtime's own tool, where no Python is to run edgekd's."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgekd.engine.events import Progress
from edgekd.errors import DeviceLostError, UnavailableError
from edgekd.hardware.fingerprint import Cpu, parse_cpuinfo
from edgekd.hardware.parts import parts_of
from edgekd.hardware.profile import DeviceProfile
from edgekd.hardware.remote.bounded import last_line, printable
from edgekd.hardware.remote.connection import Connection
from edgekd.hardware.remote.tools import Statistic, tool_of
from edgekd.hardware.runtime import Tensor
from edgekd.hardware.specs import RuntimeSpec
from edgekd.settings import Settings
from edgekd.stats import Interval, geometric_interval

RUN_S, MOST = 600, 2**20
# a tool is looked for on the PATH and where Android's documentation puts it
RUN = 'PATH="$PATH:/data/local/tmp"; export PATH; cd "$1" && shift && exec "$@"'


class ByTool(Settings):
    """What a runtime's own tool says: wall time, its inputs random; no memory, no noise, no ratios."""

    schema_version: int = Field(default=1, alias="schema")
    kind: Literal["measured", "emulated"]
    when: str
    device: Cpu
    model: str
    tool: str
    tool_version: str | None
    command: tuple[str, ...]
    statistic: Statistic  # of the runs of a process
    processes: int
    runs: int | None  # of all of them
    latency_ms: Interval  # over processes


def by_tool(
    there: Connection,
    model: Path,
    spec: RuntimeSpec,
    inputs: Mapping[str, Tensor],
    profile: DeviceProfile,
    progress: Progress,
) -> ByTool:
    """Raises UnavailableError where the tool is not there, fails, or prints what cannot be read."""
    tool = tool_of(spec)
    for part in parts_of(model):
        there.send(part, "m0", *part.relative_to(model.parent).parts)
    path, count = there.path("m0", model.name), profile.measure.processes
    if tool.first:
        _ran(there, tool.first(path, inputs))
    words = tool.words(path, inputs, profile.measure)
    told = [tool.read(_ran(there, words)) for _ in progress.over(range(count), count, "process")]
    return ByTool(
        kind="emulated" if profile.emulated else "measured",
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        device=_cpu(there),
        model=model.name,
        tool=tool.name,
        tool_version=told[0].version,
        command=tuple(words),
        statistic=told[0].statistic,
        processes=count,
        runs=sum(one.runs or 0 for one in told) or None,
        latency_ms=geometric_interval([one.latency_ms for one in told]),
    )


def _ran(there: Connection, words: list[str]) -> str:
    done = there.run(["sh", "-c", RUN, "sh", there.folder, *words], subprocess.DEVNULL, RUN_S, MOST)
    if done.code in (126, 127):
        raise UnavailableError(
            f"{there.address}: neither python3 nor {words[0]} is there; install one of the two (docs/devices)"
        )
    said = f"{printable(done.out)}\n{done.complaint}"
    if done.code:
        kind = DeviceLostError if there.lost(done) else UnavailableError
        raise kind(f"{there.address}: {words[0]} ended with {done.code}: {last_line(said, 'no message')}")
    return said


def _cpu(there: Connection) -> Cpu:
    done = there.run(["cat", "/proc/cpuinfo"], subprocess.DEVNULL, 60, MOST)
    return parse_cpuinfo(printable(done.out)[:4096], there.machine)
