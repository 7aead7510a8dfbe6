"""LiteRT (TensorFlow Lite): an int8 file written from the QDQ graph, with its scales."""

from __future__ import annotations

from pathlib import Path

import onnx

from edgekd.data.feeds import TO_NHWC
from edgekd.data.signature import Signature, TensorIn
from edgekd.deploy.exporter import Coverage, Deployable, Exported, Written
from edgekd.deploy.proof import is_quantised, prove
from edgekd.engine.stage import Work
from edgekd.errors import ConfigError, UnsupportedError
from edgekd.exporters.tflite.operators import MOVERS, OPERATORS
from edgekd.exporters.tflite.translate import Translator, fix_batch
from edgekd.hardware.runtimes.litert import LiteRtSession
from edgekd.hardware.specs import LiteRtSpec, Runnable

FILE = "model.tflite"
WEIGHTED = ("Conv", "Gemm", "MatMul")


class LiteRtExporter:
    def write(self, deployable: Deployable, runtime: Runnable, out: Path) -> Written:
        _own(runtime)
        graph = onnx.load(deployable.onnx)
        if not is_quantised(graph):
            raise UnsupportedError("exporter litert: writes int8 files only; this graph is not quantised")
        check_shapes(deployable.signature, len(graph.graph.output[0].type.tensor_type.shape.dim))
        fix_batch(graph)
        (out / FILE).write_bytes(Translator(graph, OPERATORS, MOVERS).file())
        return Written((FILE,), FILE, as_tflite(deployable.signature))

    def export(self, deployable: Deployable, runtime: Runnable, work: Work) -> Exported:
        written = self.write(deployable, runtime, work.out)
        session = LiteRtSession(work.out / FILE, _own(runtime))
        parity, refused = prove(session, written.signature, deployable)
        session.close()
        layers = sum(node.op_type in WEIGHTED for node in onnx.load(deployable.onnx).graph.node)
        return Exported(written.files, FILE, written.signature, Coverage(layers, layers), parity, refused=refused)


def _own(runtime: Runnable) -> LiteRtSpec:
    if not isinstance(runtime, LiteRtSpec):
        raise ConfigError(f"exporter litert: writes files for litert, not for {runtime.name}")
    return runtime


def check_shapes(described: Signature, answers: int) -> None:
    """Raises UnsupportedError for what the writer does not know: batches, free axes inside, images as answers."""
    for spec in described.inputs:
        if isinstance(spec.shape[0], int) and spec.shape[0] != 1:
            raise UnsupportedError(
                f"exporter litert: input {spec.name!r} has a batch of {spec.shape[0]}, only 1 is known"
            )
        if free := [axis for axis in spec.shape[1:] if isinstance(axis, str)]:
            raise UnsupportedError(f"exporter litert: input {spec.name!r} leaves {free[0]!r} free; fix it in the model")
    if answers == 4:
        raise UnsupportedError("exporter litert: answers that are images are not known to the TFLite writer")


def as_tflite(described: Signature) -> Signature:
    """Images in NHWC, one sample at a time."""
    return described.model_copy(update={"inputs": tuple(_as_tflite(spec) for spec in described.inputs)})


def _as_tflite(spec: TensorIn) -> TensorIn:
    shape = (1, *spec.shape[1:]) if spec.shape and isinstance(spec.shape[0], str) else spec.shape
    if spec.layout != "NCHW" or len(shape) != 4:
        return spec.model_copy(update={"shape": shape})
    return spec.model_copy(update={"shape": tuple(shape[axis] for axis in TO_NHWC), "layout": "NHWC"})
