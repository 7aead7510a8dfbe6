"""edgekd.lock: all that is needed to make a bundle again, and to see where today would come out otherwise."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgekd.engine.store import Artifact
from edgekd.settings import Settings

SCHEMA = 1


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
    schema_version: int = SCHEMA
    edgekd: str
    python: str
    target: str
    pipeline: dict[str, Any]  # every setting, seeds among them, defaults written out
    rows: tuple[Row, ...]

    @classmethod
    def of(cls, pipeline: dict[str, Any], target: str, trail: Sequence[dict[str, Any]]) -> Lock:
        rows = []
        for call in trail:
            artifact: Artifact = call["artifact"]
            files = {}
            if call["nature"] == "decision":
                files = {p.name: p.read_text("utf-8") for p in sorted(artifact.path.iterdir())}
            rows.append(Row(stage=call["stage"], nature=call["nature"], at=call["at"], key=call["key"],
                            digest=artifact.digest, versions=call["uses"], files=files))  # fmt: skip
        return cls(edgekd=version("edgekd"), python=platform.python_version(), target=target, pipeline=pipeline,
                   rows=tuple(rows))  # fmt: skip

    def dump(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def read(path: Path) -> Lock:
    return Lock.model_validate_json(path.read_text("utf-8"))
