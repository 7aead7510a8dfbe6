"""OpenVINO's own format: converted once here, so that a device reads it without the ONNX front end."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import onnx

from edgekd.data.signature import Signature
from edgekd.deploy.exporter import Coverage, Deployable, Exported, Written, lacking
from edgekd.deploy.proof import is_quantised, prove
from edgekd.engine.stage import Work
from edgekd.errors import ConfigError, UnsupportedError
from edgekd.hardware.runtimes.openvino import GeneralFailure, OpConversionFailure, OpenVinoSession, explained, ov
from edgekd.hardware.specs import OpenVinoSpec, Runnable

FILES = ("model.xml", "model.bin")
WEIGHTED = ("Convolution", "GroupConvolution", "FullyConnected", "MatMul", "Gemm")
INTEGER = ("i8", "u8")


class OpenVinoExporter:
    def write(self, deployable: Deployable, runtime: Runnable, out: Path) -> Written:
        described = with_batch(deployable.signature, _own(runtime).batch)
        return Written(FILES, FILES[0], convert(deployable, described, out / FILES[0]))

    def export(self, deployable: Deployable, runtime: Runnable, work: Work) -> Exported:
        written, runtime = self.write(deployable, runtime, work.out), _own(runtime)
        session = OpenVinoSession(work.out / FILES[0], runtime)
        parity, refused = prove(session, written.signature, deployable, exact=runtime.precision == "f32")
        covered = coverage(session.executed(), quantised=is_quantised(onnx.load(deployable.onnx)))
        session.close()
        return Exported(FILES, FILES[0], written.signature, covered, parity, refused=refused)


def _own(runtime: Runnable) -> OpenVinoSpec:
    if not isinstance(runtime, OpenVinoSpec):
        raise ConfigError(f"exporter openvino: writes files for openvino, not for {runtime.name}")
    return runtime


def convert(deployable: Deployable, described: Signature, path: Path) -> Signature:
    """
    Weights as they are: OpenVINO's default would round floats to 16 bits. And the signature without the inputs that
    no layer reads, which OpenVINO leaves out.
    """
    try:
        model = ov.convert_model(BytesIO(deployable.onnx.read_bytes()))  # a path would be split at its commas
    except (RuntimeError, OpConversionFailure, GeneralFailure) as error:
        told = explained(deployable.onnx, error)
        layer = lacking(onnx.load(deployable.onnx), str(told))
        raise UnsupportedError(f"exporter openvino: {layer}") from error
    named = {spec.name: spec for spec in described.inputs}
    read = {name for port in model.inputs for name in port.get_names() if name in named}
    model.reshape({port: shape_of(named[(port.get_names() & read).pop()].shape) for port in model.inputs})
    for key, value in deployable.metadata.items():
        model.set_rt_info(value, key.split("."))
    ov.save_model(model, str(path), compress_to_fp16=False)
    return described.model_copy(update={"inputs": tuple(spec for spec in described.inputs if spec.name in read)})


def shape_of(shape: tuple[int | str, ...]) -> Any:
    return ov.PartialShape([-1 if isinstance(axis, str) else axis for axis in shape])


def with_batch(described: Signature, batch: int | None) -> Signature:
    """The signature with its free first axes at `batch`; as it is for None."""
    if batch is None:
        return described
    inputs = [
        spec.model_copy(update={"shape": (batch, *spec.shape[1:])})
        if spec.shape and isinstance(spec.shape[0], str)
        else spec
        for spec in described.inputs
    ]
    return described.model_copy(update={"inputs": tuple(inputs)})


def coverage(executed: list[tuple[str, str, str]], *, quantised: bool) -> Coverage:
    """Of (name, type, precision) of what OpenVINO runs: which layers with weights and products run as integers."""
    layers = [(name, precision) for name, kind, precision in executed if kind in WEIGHTED]
    left = [name for name, precision in layers if precision not in INTEGER]
    why = "OpenVINO left it in float" if quantised else "the graph is not quantised"
    return Coverage(len(layers) - len(left), len(layers), tuple(left), dict.fromkeys(left, why))
