"""TensorRT: the symmetric QDQ graph, parsed here; the engine is made on the device, or ahead of time for RTX GPUs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edgekd.data.signature import Signature, TensorIn, fixed_shape
from edgekd.deploy.exporter import Compiled, Costs, Deployable, Exported, Written
from edgekd.deploy.fusion import stated_coverage
from edgekd.engine.stage import Work
from edgekd.errors import ConfigError, UnavailableError, UnsupportedError
from edgekd.exporters import build_engine
from edgekd.exporters.compilers import own
from edgekd.hardware.runtime import Session, open_session
from edgekd.hardware.specs import CompilerSpec, RuntimeSpec, plain_onnxruntime

MODEL, ENGINE, SETTINGS, SCRIPT = "model.onnx", "model.plan", "engine.json", "build_engine.py"
QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
OPTIONS = {"max_batch": "8", "workspace_mib": "1024", "fp16": "true", "sparse": "true"}
RTX_OPTIONS = {"compute_capabilities": "8.6 8.9 12.0"}
NOT_RUN = "no engine ran: {}; build_engine.py measures it on the device"


class TensorRtExporter:
    """For devices where TensorRT is: engines belong to a platform and a version, so that they are built there."""

    name = "tensorrt"

    def write(self, deployable: Deployable, runtime: RuntimeSpec, out: Path) -> Written:
        _write_sources(self.name, deployable, own(self.name, self.name, runtime), out)
        return Written((MODEL, SETTINGS, SCRIPT), MODEL, deployable.signature)

    def export(self, deployable: Deployable, runtime: RuntimeSpec, work: Work) -> Exported:
        written = self.write(deployable, runtime, work.out)
        library = _library("tensorrt", "tensorrt_rtx")
        _told(self.name, lambda: build_engine.parsed(library, work.out / MODEL))
        seen = f"parsed by {library.__name__} {library.__version__}"
        if library.__name__ == "tensorrt_rtx":
            seen += ", which has the same front end: evidence, and no proof, for TensorRT itself"
        return _exported(written, work.out, "TensorRT builds engines on the device alone", seen)

    def opened(self, made: Compiled) -> Session:
        return _graph(made.folder)

    def costs(self, _: Path, /) -> Costs:
        return Costs("none", told_by=f"{self.name} says nothing of costs without its device")


class TensorRtRtxExporter:
    """For RTX GPUs: the engine is compiled here, ahead of time, for all the profile's compute capabilities."""

    name = "tensorrt-rtx"

    def write(self, deployable: Deployable, runtime: RuntimeSpec, out: Path) -> Written:
        _write_sources(self.name, deployable, own(self.name, self.name, runtime), out)
        library = _library("tensorrt_rtx")
        settings = json.loads((out / SETTINGS).read_text("utf-8"))
        (out / ENGINE).write_bytes(_told(self.name, lambda: build_engine.build(library, out, settings)))
        return Written((ENGINE, MODEL, SETTINGS, SCRIPT), ENGINE, deployable.signature)

    def export(self, deployable: Deployable, runtime: RuntimeSpec, work: Work) -> Exported:
        written = self.write(deployable, runtime, work.out)
        settings = json.loads((work.out / SETTINGS).read_text("utf-8"))
        capabilities = ", ".join(settings["compute_capabilities"])
        seen = f"built ahead of time by tensorrt_rtx {_library('tensorrt_rtx').__version__} for {capabilities}"
        return _exported(written, work.out, "it was compiled ahead of time, and edgekd reaches no GPU", seen)

    def opened(self, made: Compiled) -> Session:
        return _graph(made.folder)

    def costs(self, _: Path, /) -> Costs:
        return Costs("none", told_by=f"{self.name} says nothing of costs without its device")


def check_dialect(name: str, graph: onnx.ModelProto) -> None:
    """
    Raises UnsupportedError for the first tensor that is quantised as TensorRT's parser takes nothing: int8 with zero
    points of 0 alone, and biases in float.
    """
    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    for node in sorted(graph.graph.node, key=lambda node: node.op_type != "QuantizeLinear"):  # biases last
        if node.op_type == "DynamicQuantizeLinear":
            raise _other_dialect(name, node.input[0], "with a scale that is found at run time")
        if node.op_type in QUANTISERS:
            kind, zero = _kind_and_zero(node, constants)
            if kind != "int8" or zero:
                raise _other_dialect(name, node.input[0], f"as {kind}{f' with zero point {zero}' if zero else ''}")


def _kind_and_zero(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> tuple[str, int]:
    """The integers of a quantiser, by ONNX's name, and the zero point of them that is furthest from 0."""
    zero = constants.get(node.input[2]) if len(node.input) > 2 else None
    typed = zero if zero is not None else constants.get(node.input[0])
    kind = TensorProto.UINT8 if typed is None or typed.data_type == TensorProto.FLOAT else typed.data_type
    points = numpy_helper.to_array(zero).ravel().astype(np.int64) if zero is not None else np.zeros(1)
    return TensorProto.DataType.Name(kind).lower(), int(max(points, key=abs))


def _other_dialect(name: str, tensor: str, how: str) -> UnsupportedError:
    return UnsupportedError(
        f"exporter {name}: {tensor!r} is quantised {how}, a dialect of CPUs; TensorRT takes int8 with zero points of "
        "0, and biases in float: quantise in the dialect int8-symmetric"
    )


def engine_settings(name: str, described: Signature, spec: CompilerSpec) -> dict[str, Any]:
    """What `build_engine.py` is to be told. Raises ConfigError for an option that is none."""
    known = OPTIONS | RTX_OPTIONS if name == TensorRtRtxExporter.name else OPTIONS
    if strange := sorted(set(spec.options) - set(known)):
        raise ConfigError(f"exporter {name}: no option {strange[0]!r}; known: {', '.join(known)}")
    options = known | spec.options
    for key in ("fp16", "sparse"):
        if options[key] not in ("true", "false"):
            raise ConfigError(f"exporter {name}: {key}: {options[key]!r} is neither true nor false")
    for key in ("max_batch", "workspace_mib"):
        if not options[key].isdecimal() or int(options[key]) < 1:
            raise ConfigError(f"exporter {name}: {key}: {options[key]!r} is no whole number above 0")
    return {
        "schema": 1,
        "library": name.replace("-", "_"),
        "model": MODEL,
        "workspace_mib": int(options["workspace_mib"]),
        "fp16": options["fp16"] == "true",
        "sparse": options["sparse"] == "true",
        "compute_capabilities": options.get("compute_capabilities", "").split(),
        "inputs": {one.name: shapes(one, int(options["max_batch"])) for one in described.inputs},
    }


def shapes(spec: TensorIn, max_batch: int) -> dict[str, list[int]]:
    """The least, usual and largest shape: free axes go from 1 to what the data has, the batch to `max_batch`."""
    least = [axis if isinstance(axis, int) else 1 for axis in spec.shape]
    return {"min": least, "opt": list(fixed_shape(spec, 1)), "max": list(fixed_shape(spec, max_batch))}


def _write_sources(name: str, deployable: Deployable, spec: CompilerSpec, out: Path) -> None:
    graph = onnx.load(deployable.onnx)
    check_dialect(name, graph)
    onnx.helper.set_model_props(graph, dict(deployable.metadata))
    settings = engine_settings(name, deployable.signature, spec)
    onnx.save(graph, out / MODEL)
    (out / SETTINGS).write_text(json.dumps(settings, indent=1), "utf-8")
    (out / SCRIPT).write_text((files("edgekd.exporters") / SCRIPT).read_text("utf-8"), "utf-8")


def _library(*names: str) -> Any:
    """The first of these that is installed."""
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    wanted = names[0].replace("_", "-")
    also = "" if len(names) == 1 else "; without a GPU 'edgekd[tensorrt-rtx]' has a parser to check with"
    raise UnavailableError(
        f"exporter {wanted!r} needs {names[0]!r}, which is not installed; pip install 'edgekd[{wanted}]'{also}"
    )


def _graph(folder: Path) -> Session:
    """What the engine is made of, in ONNX Runtime: the graph's arithmetic, which no engine was held against."""
    return open_session(folder / MODEL, plain_onnxruntime())


def _told(name: str, make: Any) -> Any:
    try:
        return make()
    except ValueError as error:
        raise UnsupportedError(f"exporter {name}: {error}") from error


def _exported(written: Written, out: Path, why: str, seen: str) -> Exported:
    covered = stated_coverage(onnx.load(out / MODEL))
    notes = (seen, f"latency: none, {why}", "coverage is the graph's; the engine's kernels are known on the device")
    return Exported(
        written.files, written.entry, written.signature, covered, None, not_run=NOT_RUN.format(why), notes=notes,
        costs=Costs("none", told_by=seen),
    )  # fmt: skip
