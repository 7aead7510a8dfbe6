"""ONNX Runtime runs the hub graph as it is: this exporter adds the metadata, and proves that it fuses and agrees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from edgekd.deploy.exporter import Deployable, Exported, Written, lacking
from edgekd.deploy.fusion import in_onnxruntime, layers_snr_db
from edgekd.deploy.proof import is_quantised, prove
from edgekd.deploy.reference import read
from edgekd.engine.stage import Work
from edgekd.errors import ConfigError, UnavailableError, UnsupportedError
from edgekd.hardware.specs import OnnxRuntimeSpec, Runnable
from edgekd.sparse.packing import packed

FILE = "model.onnx"


class OnnxRuntimeExporter:
    def write(self, deployable: Deployable, runtime: Runnable, out: Path) -> Written:
        graph = onnx.load(deployable.onnx)
        if _own(runtime).pack_zeros:
            graph = packed(graph)
        _label(graph, deployable.metadata)
        onnx.save(graph, out / FILE)
        return Written((FILE,), FILE, deployable.signature)

    def export(self, deployable: Deployable, runtime: Runnable, work: Work) -> Exported:
        written, runtime, path = self.write(deployable, runtime, work.out), _own(runtime), work.out / FILE
        graph = onnx.load(deployable.onnx)
        try:
            session, covered = in_onnxruntime(path, runtime, work.scratch)
        except UnavailableError as error:
            raise UnsupportedError(f"exporter onnxruntime: {lacking(graph, str(error))}") from error
        parity, refused = prove(session, deployable.signature, deployable)
        session.close()
        layers = {}
        if is_quantised(graph):
            layers = layers_snr_db(graph, runtime, read(deployable.reference), work.scratch)
        return Exported(written.files, FILE, written.signature, covered, parity, refused=refused, layers_snr_db=layers)


def _own(runtime: Runnable) -> OnnxRuntimeSpec:
    if not isinstance(runtime, OnnxRuntimeSpec):
        raise ConfigError(f"exporter onnxruntime: writes files for onnxruntime, not for {runtime.name}")
    return runtime


def _label(graph: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        graph.metadata_props.add(key=key, value=value)
