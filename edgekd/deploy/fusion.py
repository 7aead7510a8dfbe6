"""Which layers run as integers in the graph that a runtime made: a file full of QDQ nodes may still run in float."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from edgekd.deploy.exporter import Coverage
from edgekd.hardware.runtimes.onnxruntime import OnnxRuntimeSession
from edgekd.hardware.specs import OnnxRuntimeSpec

WEIGHTED = ("Conv", "Gemm", "MatMul", "FusedConv", "FusedGemm")
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
    """Count the layers with weights of an optimised graph by the kernels that run them."""
    nodes = graph.graph.node
    integer = [node.name for node in nodes if node.op_type in INTEGER]
    left = [node.name for node in nodes if node.op_type in WEIGHTED]
    return Coverage(len(integer), len(integer) + len(left), tuple(left))


def in_onnxruntime(
    model: Path, spec: OnnxRuntimeSpec, scratch: Path | None = None
) -> tuple[OnnxRuntimeSession, Coverage]:
    """The model, open, and the coverage of what ONNX Runtime made of it."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        optimized = Path(folder) / "optimized.onnx"
        session = OnnxRuntimeSession(model, spec, optimized)
        return session, coverage(onnx.load(optimized))


def quantised(model: Path) -> bool:
    """Whether this is an ONNX file that has quantised layers at all."""
    if model.suffix != ".onnx":
        return False
    kinds = {node.op_type for node in onnx.load(model, load_external_data=False).graph.node}
    return bool(kinds & {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", *INTEGER})
