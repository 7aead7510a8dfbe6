"""edgekd.lock: all that is needed to make a bundle again, and to see where today would come out otherwise."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import Field

from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError
from edgekd.formats import read_json
from edgekd.settings import Settings, validate


class Row(Settings):
    """One call of the build. Decisions carry their files: they are replayed, not made again."""

    stage: str
    nature: str
    at: str
    key: str
    digest: str
    versions: dict[str, str]
    files: dict[str, str] = {}


class Lock(Settings):
    schema_version: int = Field(default=1, alias="schema")
    edgekd: str
    python: str
    target: str
    profile: dict[str, Any]  # the device profile, whole: a person's own file may not be there tomorrow
    device: dict[str, Any]  # the CPU that measured
    lead: dict[str, Any] | None = None  # of a device elsewhere: the profile whose student it took
    data: str  # digests of what the build started from
    teacher: str
    pipeline: dict[str, Any]  # every setting, seeds among them, defaults written out
    rows: tuple[Row, ...]

    @classmethod
    def of(
        cls,
        pipeline: dict[str, Any],
        profile: dict[str, Any],
        device: dict[str, Any],
        trail: Sequence[dict[str, Any]],
        lead: dict[str, Any] | None = None,
    ) -> Lock:
        """The lock of a finished build; `trail` has one row a call, as the builder keeps them."""
        rows = []
        for call in trail:
            artifact: Artifact = call["artifact"]
            files = {}
            if call["nature"] == "decision":
                files = {p.name: p.read_text("utf-8") for p in sorted(artifact.path.iterdir())}
            rows.append(Row(stage=call["stage"], nature=call["nature"], at=call["at"], key=call["key"],
                            digest=artifact.digest, versions=call["uses"], files=files))  # fmt: skip
        digests = {row.stage.split(".")[0]: row.digest for row in reversed(rows)}
        return cls(
            edgekd=version("edgekd"),
            python=platform.python_version(),
            target=profile["name"],
            profile=profile,
            device=device,
            lead=lead,
            data=digests.get("data", ""),
            teacher=digests.get("teacher", ""),
            pipeline=pipeline,
            rows=tuple(rows),
        )

    def dump(self) -> str:
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=1, sort_keys=True) + "\n"

    def row(self, stage: str, at: str) -> Row | None:
        return next((row for row in self.rows if (row.stage, row.at) == (stage, at)), None)


def plain_name(name: str) -> str:
    """A file name from a lock, which may come from anywhere: never a path."""
    if Path(name).name != name or name in (".", ".."):
        raise ConfigError(f"edgekd.lock: {name!r} is no plain file name; the lock was edited")
    return name


def drift(lock: Lock, device: dict[str, Any]) -> list[str]:
    """What is not as it was when the lock was written: libraries and CPU, each in a sentence."""
    found = []
    if lock.edgekd != version("edgekd"):
        found.append(f"edgekd {lock.edgekd} -> {version('edgekd')}")
    if lock.python != platform.python_version():
        found.append(f"Python {lock.python} -> {platform.python_version()}")
    for name, then in sorted({pair for row in lock.rows for pair in row.versions.items()}):
        try:
            now = version(name)
        except PackageNotFoundError:
            now = "not installed"
        if now != then:
            found.append(f"{name} {then} -> {now}")
    if lock.device != device:
        found.append(f"CPU {_cpu(lock.device)} -> {_cpu(device)}")
    return found


def _cpu(device: Mapping[str, Any]) -> str:
    return f"{device.get('model')} ({', '.join(device.get('isa', ()))})"


def read(path: Path) -> Lock:
    return validate(Lock, read_json("lock", path), str(path))
