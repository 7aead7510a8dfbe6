"""Which layers run as integers in the graph that a runtime made: a file full of QDQ nodes may still run in float."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgekd.deploy.exporter import Coverage
from edgekd.deploy.proof import is_quantised, signal_to_noise_db
from edgekd.deploy.reference import PROBED, Reference, dequantised
from edgekd.hardware.runtimes.onnxruntime import OnnxRuntimeSession
from edgekd.hardware.specs import OnnxRuntimeSpec

WEIGHTED = ("Conv", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul")
STATED = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # of a graph that no runtime made
MOVERS = ("Transpose", "Reshape", "Squeeze", "Unsqueeze")
INTEGER = (
    "QLinearConv",
    "QGemm",
    "QLinearMatMul",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "ConvInteger",
    "MatMulInteger",
)


def coverage(graph: onnx.ModelProto) -> Coverage:
    """Count the layers with weights, and the products of attention, of an optimised graph by the kernels of them."""
    nodes = graph.graph.node
    integer = [node.name for node in nodes if node.op_type in INTEGER]
    left = [node for node in nodes if node.op_type in WEIGHTED]
    why = _Reasons(graph)
    return Coverage(
        len(integer), len(integer) + len(left), tuple(node.name for node in left), {n.name: why.of(n) for n in left}
    )


def stated_coverage(graph: onnx.ModelProto) -> Coverage:
    """Which layers with weights and products read only integers in the graph; the compiled kernels may differ."""
    makers = {name: node for node in graph.graph.node for name in node.output}
    layers = [node for node in graph.graph.node if node.op_type in STATED]
    left = tuple(
        node.name or node.output[0] for node in layers if not all(_is_integer(name, makers) for name in node.input[:2])
    )
    why = "an input of it is in float" if is_quantised(graph) else "the graph is not quantised"
    return Coverage(len(layers) - len(left), len(layers), left, dict.fromkeys(left, why))


def _is_integer(name: str, makers: Mapping[str, onnx.NodeProto]) -> bool:
    while name in makers and makers[name].op_type in MOVERS:
        name = makers[name].input[0]
    return name in makers and makers[name].op_type == "DequantizeLinear"


class _Reasons:
    """Why a layer of an optimised graph runs in float."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        self.makers = {name: node for node in graph.graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.quantised = any("Quantize" in node.op_type for node in graph.graph.node)

    def of(self, node: onnx.NodeProto) -> str:
        if not self.quantised:
            return "the graph is not quantised"
        x = self.makers.get(node.input[0])
        if x is None or x.op_type != "DequantizeLinear":
            return f"its input comes in float{f' from {x.op_type}' if x else ''}"
        weight = self.makers.get(node.input[1])
        if weight is None or weight.op_type != "DequantizeLinear":
            return "its weight is not quantised" if weight is None else f"its right side is made by {weight.op_type}"
        floats = [
            reader.op_type for reader in self.readers.get(node.output[0], []) if reader.op_type != "QuantizeLinear"
        ]
        if floats or node.output[0] not in self.readers:
            return f"its output is read in float{f' by {floats[0]}' if floats else ''}"
        return "it is quantised on all sides, and the runtime has no integer kernel for these types"


def in_onnxruntime(
    model: Path, spec: OnnxRuntimeSpec, scratch: Path | None = None
) -> tuple[OnnxRuntimeSession, Coverage]:
    """The model, open, and the coverage of what ONNX Runtime made of it, or of the graph where none can be read."""
    if spec.compiles:
        return OnnxRuntimeSession(model, spec), stated_coverage(onnx.load(model))
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        optimized = Path(folder) / "optimized.onnx"
        session = OnnxRuntimeSession(model, spec, optimized)
        return session, coverage(onnx.load(optimized))


def layers_snr_db(graph: onnx.ModelProto, spec: OnnxRuntimeSpec, known: Reference, scratch: Path) -> dict[str, float]:
    """
    Signal over noise of every activation that is quantised: the runtime's fused integer kernels against torch's
    fake-quantised net, or without torch against the graph's own arithmetic, unfused and in float. The noisiest first.
    """
    probed = onnx.ModelProto()
    probed.CopyFrom(graph)
    seen = dequantised(graph)
    probed.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in seen)
    first = graph.graph.input[0].type.tensor_type.shape.dim[:1]
    enough = max(PROBED, first[0].dim_value if first else 0)
    few = {name: array[:enough] for name, array in known.feeds.items()}
    if len(next(iter(few.values()))) < enough > PROBED:
        return {}  # a batch larger than all samples
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "probed.onnx"
        onnx.save(probed, path)
        plain = spec.model_copy(update={"graph_optimization": "disabled", "provider": "CPUExecutionProvider"})
        fused, own = (dict(zip(_names(probed), _run(path, one, few), strict=True)) for one in (spec, plain))
    expected = own | dict(known.layers)
    found = {_layer(name): signal_to_noise_db(expected[name], fused[name]) for name in seen}
    return dict(sorted(((name, round(db, 1)) for name, db in found.items()), key=lambda pair: pair[1]))


def _names(graph: onnx.ModelProto) -> list[str]:
    return [output.name for output in graph.graph.output]


def _run(path: Path, spec: OnnxRuntimeSpec, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Every output on all samples, in batches that the graph takes."""
    session = OnnxRuntimeSession(path, spec)
    first = session.describe().inputs[0].shape[0]
    samples = len(next(iter(feeds.values())))
    chunk = first if isinstance(first, int) else samples
    count = samples // chunk * chunk
    try:
        runs = [session.run({name: a[at : at + chunk] for name, a in feeds.items()}) for at in range(0, count, chunk)]
        return [np.concatenate(arrays) for arrays in zip(*runs, strict=True)]
    finally:
        session.close()


def _layer(name: str) -> str:
    return name.removesuffix("_DequantizeLinear_Output")


def quantised(model: Path) -> bool:
    """Whether this is an ONNX file that has quantised layers at all."""
    if model.suffix != ".onnx":
        return False
    kinds = {node.op_type for node in onnx.load(model, load_external_data=False).graph.node}
    return bool(kinds & {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", *INTEGER})
