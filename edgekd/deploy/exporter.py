"""The exporter contract, and the stage that calls whichever exporter a profile names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

from edgekd.data import signature
from edgekd.data.signature import Signature
from edgekd.deploy.stages import Export
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError, UnavailableError
from edgekd.hardware.specs import Runnable

GROUP = "edgekd.exporters"


@dataclass(frozen=True)
class Deployable:
    """A net ready to be exported: its hub graph with torch's answers beside it, and its signature."""

    onnx: Path
    reference: Path
    signature: Signature
    metadata: Mapping[str, str]
    trained: bool


@dataclass(frozen=True)
class Coverage:
    """How many of the layers with weights run as integer kernels in the graph that the runtime made."""

    integer: int
    total: int
    left_float: tuple[str, ...] = ()  # the names of the others


@dataclass(frozen=True)
class Parity:
    """The artifact in its runtime against torch, on the reference images."""

    max_abs_diff: float
    top1_agreement: float
    samples: int


@dataclass(frozen=True)
class Exported:
    """
    `entry` is the file of `files` that a runtime opens.

    `parity` is None with `not_run` saying why it could not be run here. `refused` says why it must not ship: it is
    measured and reported, and never selected.
    """

    files: tuple[str, ...]
    entry: str
    coverage: Coverage
    parity: Parity | None
    not_run: str | None = None
    refused: str | None = None
    notes: tuple[str, ...] = field(default=())


class Exporter(Protocol):
    """From a hub graph to files that a device can run. Exporters depend on edgekd, never the reverse."""

    def export(self, deployable: Deployable, runtime: Runnable, work: Work) -> Exported: ...


def run(settings: Export, inputs: Mapping[str, Artifact], work: Work) -> None:
    hub = inputs["hub"].path
    described = signature.read(hub)
    metadata = {"edgekd.model": settings.model, "edgekd.signature": described.model_dump_json(by_alias=True)}
    deployable = Deployable(hub / "model.onnx", hub / "reference.safetensors", described, metadata, settings.trained)
    exported = find(settings.runtime.exporter).export(deployable, settings.runtime, work)
    signature.write(described, work.out)
    (work.out / "export.json").write_text(json.dumps(_plain(exported), indent=1), "utf-8")


def find(name: str) -> Exporter:
    """The exporter registered as `name`; only that one is imported."""
    found: dict[str, EntryPoint] = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        close = get_close_matches(name, found, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"installed: {', '.join(sorted(found)) or 'none'}"
        raise ConfigError(f"exporters: no {name!r}; {hint}")
    try:
        return found[name].load()()  # type: ignore[no-any-return]
    except ImportError as error:
        raise UnavailableError(
            f"exporter {name!r} needs {error.name!r}, which is not installed; pip install 'edgekd[{name}]'"
        ) from error


def distribution(name: str) -> tuple[str, ...]:
    """The distribution that an exporter comes with, whose version its results belong to."""
    return tuple(e.dist.name for e in entry_points(group=GROUP) if e.name == name and e.dist is not None)[:1]


def read(artifact: Artifact) -> dict[str, Any]:
    return artifact.json("export.json")  # type: ignore[no-any-return]


def _plain(exported: Exported) -> dict[str, Any]:
    return {"schema": 1, **asdict(exported)}
