"""The exporter contract, and the stage that calls whichever exporter a profile names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

from edgekd.data import signature
from edgekd.data.signature import Signature
from edgekd.deploy.stages import Export
from edgekd.engine.plan import Pending
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError, EdgekdError, UnavailableError, UnsupportedError
from edgekd.hardware.runtime import Session, open_session
from edgekd.hardware.specs import CompilerSpec, LatencyKind, RuntimeSpec, read_runtime

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
    why: Mapping[str, str] = field(default_factory=dict)  # of each of them


@dataclass(frozen=True)
class Parity:
    """The artifact in its runtime against the reference, on some samples."""

    max_abs_diff: float
    top1_agreement: float
    samples: int
    step: float | None = None  # the scale of the output
    steps_p99: float | None = None  # by how many of them the answers are apart
    steps_max: float | None = None
    steps_limit: int | None = None
    snr_db: float | None = None  # of the reference's answers over the difference
    float_snr_db: float | None = None  # of the float graph's answers over the runtime's difference from them
    file_float_snr_db: float | None = None  # the same of the quantised graph's own arithmetic


@dataclass(frozen=True)
class Costs:
    """What is known, without the device, of what a compiled file costs there; None where nothing says it."""

    latency_kind: LatencyKind
    latency_ms: float | None = None
    cycles: int | None = None
    flash_kib: float | None = None  # of the model; in SRAM, what an NPU holds there
    ram_kib: float | None = None
    told_by: str = ""  # only to be compared at the same compiler, version and options


@dataclass(frozen=True)
class Exported:
    """
    `entry` is the file of `files` that a runtime opens; None where the exporter cannot write this model.

    `signature` is of the file: its layout and batch may be others than the hub's. `parity` is None with `not_run`
    saying why it could not be run here. `refused` says why it must not ship: it is measured and reported, and never
    selected.
    """

    files: tuple[str, ...]
    entry: str | None
    signature: Signature
    coverage: Coverage
    parity: Parity | None
    not_run: str | None = None
    refused: str | None = None
    notes: tuple[str, ...] = ()
    layers_snr_db: Mapping[str, float] = field(default_factory=dict)  # integer kernels against the graph, by tensor
    costs: Costs | None = None  # of files that are compiled for a device elsewhere


@dataclass(frozen=True)
class Written:
    """Files of which `entry` is the one that a runtime opens, and what it reads and answers."""

    files: tuple[str, ...]
    entry: str
    signature: Signature


class Exporter(Protocol):
    """From a hub graph to files that a device can run. Exporters depend on edgekd, never the reverse."""

    def write(self, deployable: Deployable, runtime: RuntimeSpec, out: Path) -> Written:
        """The files alone, which is enough to measure them: `deployable.reference` is not read."""

    def export(self, deployable: Deployable, runtime: RuntimeSpec, work: Work) -> Exported: ...


@dataclass(frozen=True)
class Compiled:
    """Files for a device elsewhere, and what they read and answer."""

    folder: Path
    runtime: CompilerSpec
    signature: Signature


class StandIn(Exporter, Protocol):
    """An exporter for devices elsewhere: something here answers for them, and the runtime's `numerics` say what."""

    def opened(self, made: Compiled) -> Session: ...

    def costs(self, folder: Path, /) -> Costs:
        """Of what `write` left in `folder`, without running it."""


def run(settings: Export, inputs: Mapping[str, Artifact], work: Work) -> None:
    hub = inputs["hub"].path
    described = signature.read(hub)
    metadata = {"edgekd.model": settings.model, "edgekd.signature": described.model_dump_json(by_alias=True)}
    deployable = Deployable(hub / "model.onnx", hub / "reference.safetensors", described, metadata, settings.trained)
    exporter = find(settings.runtime.exporter)
    try:
        exported = exporter.export(deployable, settings.runtime, work)
    except EdgekdError as error:
        if settings.needed and not isinstance(error, UnsupportedError):
            raise
        for made in work.out.iterdir():
            made.unlink()
        exported = Exported((), None, described, Coverage(0, 0), None, refused=str(error))
    save(exported, settings.runtime, work.out)


def save(exported: Exported, runtime: RuntimeSpec, out: Path) -> None:
    """What `read` and `runtime` find beside the files."""
    signature.write(exported.signature, out)
    told = _plain(exported) | {"runtime": runtime.model_dump(mode="json")}
    (out / "export.json").write_text(json.dumps(told, indent=1), "utf-8")


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


def lacking(graph: Any, told: str) -> str:
    """What a runtime said it lacks, with the first layer of that operator, which runtimes rarely name."""
    kinds = {node.op_type: node.name or node.output[0] for node in reversed(graph.graph.node)}
    found = sorted((kind for kind in kinds if re.search(rf"\b{re.escape(kind)}\b", told)), key=len, reverse=True)
    return f"layer {kinds[found[0]]!r} ({found[0]}): {told}" if found else told


def distribution(name: str) -> tuple[str, ...]:
    """The distribution that an exporter comes with, whose version its results belong to."""
    return tuple(e.dist.name for e in entry_points(group=GROUP) if e.name == name and e.dist is not None)[:1]


def read(artifact: Artifact) -> dict[str, Any]:
    return artifact.json("export.json")  # type: ignore[no-any-return]


def is_written(model: Artifact | Pending) -> bool:
    """Whether its exporter could write it; taken to be so while planning."""
    return not isinstance(model, Artifact) or read(model)["entry"] is not None


def entry(artifact: Artifact) -> Path:
    """The file that a runtime opens."""
    return artifact.file(read(artifact)["entry"])


def runtime(artifact: Artifact) -> RuntimeSpec:
    """The settings that it was made for, and is measured and shipped in."""
    return read_runtime(json.dumps(read(artifact)["runtime"]))


def opened(artifact: Artifact, threads: int) -> Session:
    """The file in its runtime, or in what answers for a device elsewhere; with all threads, which is no latency."""
    spec = runtime(artifact)
    if isinstance(spec, CompilerSpec):
        stand_in: StandIn = find(spec.exporter)  # type: ignore[assignment]
        return stand_in.opened(Compiled(artifact.path, spec, signature.read(artifact.path)))
    return open_session(entry(artifact), spec.model_copy(update={"threads": threads, "affinity": None}))


def costs(artifact: Artifact) -> Costs | None:
    """None of files that are measured instead."""
    told = read(artifact)["costs"]
    return Costs(**told) if told else None


def _plain(exported: Exported) -> dict[str, Any]:
    plain = {f.name: getattr(exported, f.name) for f in fields(exported) if f.name != "signature"}
    plain["coverage"] = asdict(exported.coverage)
    plain["parity"] = asdict(exported.parity) if exported.parity else None
    plain["costs"] = asdict(exported.costs) if exported.costs else None
    return {"schema": 1, **plain}
