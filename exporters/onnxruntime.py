"""ONNX Runtime runs the hub graph as it is: this exporter adds the metadata, and proves that it fuses and agrees."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import load_file

from edgekd.deploy.exporter import Deployable, Exported, Parity
from edgekd.deploy.fusion import in_onnxruntime
from edgekd.engine.stage import Work
from edgekd.errors import ConfigError, EdgekdError
from edgekd.hardware.specs import OnnxRuntimeSpec, Runnable

FLOAT_TOLERANCE = 1e-3  # of the largest logit
AGREEMENT = 0.98  # of top-1, for a quantised graph


class OnnxRuntimeExporter:
    def export(self, deployable: Deployable, runtime: Runnable, work: Work) -> Exported:
        path = work.out / "model.onnx"
        graph = onnx.load(deployable.onnx)
        _label(graph, deployable.metadata)
        onnx.save(graph, path)
        if not isinstance(runtime, OnnxRuntimeSpec):
            raise ConfigError(f"exporter onnxruntime: writes files for onnxruntime, not for {runtime.name}")
        session, covered = in_onnxruntime(path, runtime, work.scratch)
        tensors = load_file(deployable.reference)
        (name,) = (spec.name for spec in deployable.signature.inputs)
        (logits,) = session.run({name: tensors["inputs"]})
        session.close()
        parity = compare(tensors["logits"], logits)
        quantised = any(node.op_type == "QuantizeLinear" for node in graph.graph.node)
        refused = None
        if deployable.trained:
            _check_float(parity, float(np.abs(tensors["logits"]).max()), quantised=quantised)
            refused = _check_quantised(parity, quantised=quantised)
        return Exported(("model.onnx",), "model.onnx", covered, parity, refused=refused)


def compare(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> Parity:
    """Logits [N, C] of torch and of the runtime."""
    return Parity(
        max_abs_diff=float(np.abs(expected - actual).max()),
        top1_agreement=float((expected.argmax(1) == actual.argmax(1)).mean()),
        samples=len(expected),
    )


def _check_float(parity: Parity, largest: float, *, quantised: bool) -> None:
    """A float graph that answers otherwise than torch is a fault of the export, and ends the build."""
    if not quantised and not parity.max_abs_diff <= FLOAT_TOLERANCE * max(largest, 1e-3):  # NaN fails too
        raise EdgekdError(
            f"onnxruntime export: logits differ from torch's by {parity.max_abs_diff:.2e}, "
            f"tolerance {FLOAT_TOLERANCE:.0e} of {largest:.2g}; the file is not shipped"
        )


def _check_quantised(parity: Parity, *, quantised: bool) -> str | None:
    """Why a quantised graph must not ship: its runtime has kernels that round, or overflow, otherwise than torch."""
    if quantised and not parity.top1_agreement >= AGREEMENT:
        return (
            f"the runtime agrees with torch's quantised model on {parity.top1_agreement:.1%} of {parity.samples} "
            f"images, at least {AGREEMENT:.0%} are needed"
        )
    return None


def _label(graph: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        graph.metadata_props.add(key=key, value=value)
