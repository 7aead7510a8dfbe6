"""LiteRT (TensorFlow Lite): an int8 file written from the QDQ graph, with its scales."""

from __future__ import annotations

from pathlib import Path

import onnx

from edgekd.deploy.exporter import Coverage, Deployable, Exported, Written
from edgekd.deploy.proof import prove
from edgekd.engine.stage import Work
from edgekd.errors import ConfigError
from edgekd.exporters.tflite.file import as_tflite, float_file
from edgekd.hardware.runtimes.litert import LiteRtSession
from edgekd.hardware.specs import LiteRtSpec, Runnable

FILE = "model.tflite"
WEIGHTED = ("Conv", "Gemm", "MatMul")


class LiteRtExporter:
    def write(self, deployable: Deployable, runtime: Runnable, out: Path) -> Written:
        _own(runtime)
        (out / FILE).write_bytes(float_file("litert", deployable))
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
