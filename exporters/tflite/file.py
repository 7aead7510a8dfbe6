"""The TFLite file of a quantised hub: with floats at its edges, as LiteRT has it, or without."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import onnx

from edgekd.data.feeds import TO_NHWC
from edgekd.data.signature import Signature, TensorIn
from edgekd.deploy.exporter import Deployable
from edgekd.deploy.proof import is_quantised
from edgekd.errors import UnsupportedError
from edgekd.exporters.graphs import fix_batch, one_sample
from edgekd.exporters.tflite.integers import without_floats
from edgekd.exporters.tflite.operators import MOVERS, OPERATORS
from edgekd.exporters.tflite.translate import Translator


def float_file(exporter: str, deployable: Deployable) -> bytes:
    """The hub as LiteRT has it, with floats at its edges and integers between."""
    graph = onnx.load(deployable.onnx)
    if not is_quantised(graph):
        raise UnsupportedError(f"exporter {exporter}: writes int8 files only; this graph is not quantised")
    check_shapes(exporter, deployable.signature, len(graph.graph.output[0].type.tensor_type.shape.dim))
    fix_batch(graph)
    try:
        return Translator(graph, OPERATORS, MOVERS).file()
    except UnsupportedError as error:
        raise UnsupportedError(f"exporter {exporter}: {error}") from error


def integer_file(exporter: str, deployable: Deployable) -> tuple[bytes, dict[str, Any]]:
    """The hub as a file without floats, and what its edges are. Raises UnsupportedError for what cannot be one."""
    floats = float_file(exporter, deployable)
    try:
        file, inputs, outputs = without_floats(floats)
    except UnsupportedError as error:
        raise UnsupportedError(f"exporter {exporter}: {error}") from error
    return file, {"inputs": [asdict(edge) for edge in inputs], "outputs": [asdict(edge) for edge in outputs]}


def check_shapes(exporter: str, described: Signature, answers: int) -> None:
    """Raises UnsupportedError for what the writer does not know: batches, free axes inside, images as answers."""
    one_sample(exporter, described)
    if answers == 4:
        raise UnsupportedError(f"exporter {exporter}: answers that are images are not known to the TFLite writer")


def as_tflite(described: Signature) -> Signature:
    """Images in NHWC, one sample at a time."""
    return described.model_copy(update={"inputs": tuple(_as_tflite(spec) for spec in described.inputs)})


def _as_tflite(spec: TensorIn) -> TensorIn:
    shape = (1, *spec.shape[1:]) if spec.shape and isinstance(spec.shape[0], str) else spec.shape
    if spec.layout != "NCHW" or len(shape) != 4:
        return spec.model_copy(update={"shape": shape})
    return spec.model_copy(update={"shape": tuple(shape[axis] for axis in TO_NHWC), "layout": "NHWC"})
