"""A model that comes as an ONNX file: taken as it is, with what it answers on real samples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import version_converter

from edgekd.data import signature
from edgekd.data.dataset import Dataset
from edgekd.data.feeds import feeds
from edgekd.data.signature import Signature, TensorIn, TensorOut
from edgekd.data.stages import Preprocess
from edgekd.deploy import reference
from edgekd.deploy.proof import is_quantised
from edgekd.deploy.reference import Reference
from edgekd.deploy.stages import ExportFloat, TakeOnnx
from edgekd.engine.digest import digest_file
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError
from edgekd.hardware.answering import predict
from edgekd.hardware.parts import parts_of
from edgekd.hardware.runtime import Described, Tensor
from edgekd.hardware.runtimes.onnxruntime import OnnxRuntimeSession
from edgekd.hardware.specs import OnnxRuntimeSpec, plain_onnxruntime

OLDEST_OPSET, NEWER_OPSET = 13, 17  # scales by channel came with 13
REFERENCE_SAMPLES = 256
CHANNELS = (1, 3, 4)


def run(settings: TakeOnnx, inputs: Mapping[str, Artifact], work: Work) -> None:
    where = Path(settings.path)
    if {part.name: digest_file(part) for part in parts_of(where) if part.is_file()} != settings.sha256:
        raise ConfigError(f"{where}: changed while the export began, or since its lock was written; export it anew")
    take(where, load(where), settings.preprocess, settings.labels, inputs["data"], work.out)


def run_teacher(settings: ExportFloat, inputs: Mapping[str, Artifact], work: Work) -> None:
    """The hub of a teacher that is an ONNX file, its answers in the order of the data's classes."""
    where = inputs["checkpoint"].file("model.onnx")
    batch = onnx.load(where).graph.input[0].type.tensor_type.shape.dim[0]
    if batch.dim_value > 1:  # its latency would be that of a batch, against students' of one image
        raise ConfigError(f"teacher.from: reads batches of {batch.dim_value}; export it with a free batch, or one of 1")
    labels = tuple(Dataset(inputs["data"]).labels)
    outside = settings.preprocess.model_copy(update={"inside": False})  # this graph reads what is normalised
    take(where, load(where), outside, labels, inputs["data"], work.out)


def take(
    where: Path,
    graph: onnx.ModelProto,
    preprocess: Preprocess | None,
    labels: tuple[str, ...],
    data: Artifact,
    out: Path,
) -> None:
    """`out/model.onnx`, its signature, and what it answers on validation samples: the proof's reference."""
    path = out / "model.onnx"
    onnx.save(graph, path)
    session = OnnxRuntimeSession(path, plain_onnxruntime())
    arrays = Dataset(data).some("val", REFERENCE_SAMPLES)
    described = described_as(session.describe(), preprocess, labels, arrays)
    if "labels" in arrays and described.outputs[0].meaning != "logits":
        raise ConfigError(
            f"{where}: answers {session.describe().outputs[0]}, which are no logits of classes; leave `labels` out of "
            "the data: what counts then is that the answers are kept"
        )
    some = feeds(arrays, described.inputs)
    described = with_examples(described, some)
    answers = predict(where.name, session, some, batch=64)
    session.close()
    _check_finite(str(where), answers)
    signature.write(described, out)
    reference.write(Reference(some, answers), out)
    (out / "about.json").write_text(json.dumps({"schema": 1, **about(graph)}), "utf-8")


def load(path: Path) -> onnx.ModelProto:
    """The float graph of a file, of an opset that can be quantised. Raises ConfigError."""
    try:
        graph = onnx.load(path)
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ConfigError(f"{path}: not an ONNX model that can be read: {str(error).splitlines()[0]}") from error
    if not graph.graph.node:
        raise ConfigError(f"{path}: not an ONNX model: it has no nodes")
    if is_quantised(graph):
        raise ConfigError(f"{path}: is quantised already; give the float model that it was made of")
    opset = next((entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if 0 < opset < OLDEST_OPSET:
        try:
            graph = version_converter.convert_version(graph, NEWER_OPSET)
        except Exception as error:
            raise ConfigError(
                f"{path}: opset {opset}; scales by channel need {OLDEST_OPSET}, and it cannot be converted: "
                f"{str(error).splitlines()[0]}; export it anew"
            ) from error
    return graph


def about(graph: onnx.ModelProto) -> dict[str, Any]:
    """Which operators with weights it has: which variants are worth trying."""
    constants = {tensor.name for tensor in graph.graph.initializer}
    kinds = [node.op_type for node in graph.graph.node if any(name in constants for name in node.input[1:2])]
    return {"convolutions": kinds.count("Conv"), "products": kinds.count("MatMul") + kinds.count("Gemm")}


def described_as(
    found: Described, preprocess: Preprocess | None, labels: tuple[str, ...], arrays: Mapping[str, NDArray[Any]]
) -> Signature:
    """The signature of a graph that says nothing of itself, from its shapes and from the samples."""
    inputs = tuple(_input(tensor, preprocess, arrays) for tensor in found.inputs)
    first, *others = found.outputs
    logits = len(first.shape) == 2 and first.shape[1] not in (0, 1)
    if labels and (not logits or (isinstance(first.shape[1], int) and first.shape[1] != len(labels))):
        raise ConfigError(f"--labels: {len(labels)} names, and the model answers {first}")
    outputs = [TensorOut(name=first.name, meaning="logits" if logits else "values", labels=labels)]
    outputs += [TensorOut(name=other.name, meaning="values") for other in others]
    return Signature(inputs=inputs, outputs=tuple(outputs))


def with_examples(described: Signature, shown: Mapping[str, NDArray[Any]]) -> Signature:
    """Each input with the shape of a sample, so that free axes are measured as long as they are in the data."""
    inputs = [spec.model_copy(update={"example": shown[spec.name].shape[1:]}) for spec in described.inputs]
    return described.model_copy(update={"inputs": tuple(inputs)})


def _input(tensor: Tensor, preprocess: Preprocess | None, arrays: Mapping[str, NDArray[Any]]) -> TensorIn:
    images = "images" in arrays
    channels_last = len(tensor.shape) == 4 and tensor.shape[3] in CHANNELS and tensor.shape[1] not in CHANNELS
    return TensorIn(
        name=tensor.name,
        dtype=tensor.dtype,
        layout="any" if len(tensor.shape) != 4 else "NHWC" if channels_last and images else "NCHW",
        shape=tuple(
            "batch" if place == 0 and isinstance(axis, str) else axis for place, axis in enumerate(tensor.shape)
        ),
        preprocess=preprocess if images else None,
    )


def _check_finite(path: str, answers: NDArray[Any]) -> None:
    if answers.dtype.kind != "f":
        raise ConfigError(f"{path}: answers {answers.dtype}; edgekd compares logits or other floats: leave ArgMax out")
    if not np.isfinite(answers).all():
        raise ConfigError(f"{path}: answers NaN or infinity on these samples; is the preprocessing right?")


def float_answers(path: Path, feeds: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """What a graph's own arithmetic answers: nothing fused, floats between Q and DQ."""
    spec = plain_onnxruntime().model_copy(update={"graph_optimization": "disabled"})
    assert isinstance(spec, OnnxRuntimeSpec)
    session = OnnxRuntimeSession(path, spec)
    try:
        return predict(path.name, session, feeds, batch=64)
    finally:
        session.close()
