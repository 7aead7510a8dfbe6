"""The hub: one ONNX graph a student and dialect, from which every exporter starts. Exporters never see torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, fx, nn

from edgekd.data import signature
from edgekd.data.dataset import Dataset, preprocess
from edgekd.data.stages import Preprocess
from edgekd.deploy import reference
from edgekd.deploy.reference import PROBED, Reference, dequantised
from edgekd.deploy.shortcuts import as_convolutions
from edgekd.deploy.stages import ExportFloat
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import EdgekdError, UnsupportedError, first_line
from edgekd.models import checkpoint

OPSET = 20
REFERENCE_IMAGES = 256


def run_float(settings: ExportFloat, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.threads)
    data = Dataset(inputs["data"])
    net = checkpoint.net_of(inputs["checkpoint"].path)
    checkpoint.contiguous(net)
    write(net, data, settings.preprocess, work.out)


def write(net: nn.Module, data: Dataset, settings: Preprocess, out: Path, floats: nn.Module | None = None) -> None:
    """
    `out/model.onnx`, its signature, and what torch answers for some validation images: the proof's reference.

    `floats` is the net that a quantised one was made of.
    """
    images = np.asarray(data.split("val").images[:REFERENCE_IMAGES])
    x = torch.from_numpy(preprocess(images, settings))
    described = signature.of_images(data.image, data.labels, settings)
    name = described.inputs[0].name
    program = exported(net, x[:2], name, described.outputs[0].name)
    graph = checked(program)
    as_convolutions(graph)
    if settings.inside:
        normalise_inside(graph, settings, data.image)
    onnx.save(graph, out / "model.onnx")
    signature.write(described, out)
    with torch.no_grad():
        logits = net(x).numpy()
        known = floats(x).numpy() if floats is not None else None
    layers = layer_values(program, dequantised(graph), x[:PROBED])
    read = images if settings.inside else x.numpy()
    reference.write(Reference({name: read}, logits, known, layers), out)


def normalise_inside(graph: onnx.ModelProto, settings: Preprocess, image: tuple[int, int, int]) -> None:
    """In place: the graph reads pixels, uint8 [batch, H, W, C], and does itself what was done before it."""
    (read,) = graph.graph.input
    name, (channels, height, width) = read.name, image
    for node in graph.graph.node:
        node.input[:] = [f"{name}.normalised" if tensor == name else tensor for tensor in node.input]
    mean, std = np.array(settings.mean), np.array(settings.std)
    constants = {"scale": 1 / (255 * std), "offset": -mean / std}
    for what, values in constants.items():
        array = values.astype(np.float32).reshape(1, channels, 1, 1)
        graph.graph.initializer.append(numpy_helper.from_array(array, f"{name}.{what}"))
    made = [
        helper.make_node("Transpose", [name], [f"{name}.nchw"], f"{name}.transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [f"{name}.nchw"], [f"{name}.float"], f"{name}.cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}.float", f"{name}.scale"], [f"{name}.scaled"], f"{name}.mul"),
        helper.make_node("Add", [f"{name}.scaled", f"{name}.offset"], [f"{name}.normalised"], f"{name}.add"),
    ]
    for place, node in enumerate(made):
        graph.graph.node.insert(place, node)
    free = read.type.tensor_type.shape.dim[0].dim_param or "batch"
    read.CopyFrom(helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [free, height, width, channels]))


def to_onnx(net: nn.Module, example: Tensor, input_name: str, output_name: str) -> onnx.ModelProto:
    """A checked graph whose first axis stays free; `example` [B, ...] with B >= 2, so that B is not baked in."""
    return checked(exported(net, example, input_name, output_name))


def exported(net: nn.Module, example: Tensor, input_name: str, output_name: str) -> torch.onnx.ONNXProgram:
    try:
        with quiet():
            program = torch.onnx.export(
                net,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[input_name],
                output_names=[output_name],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except Exception as error:  # of a net of the person's it may be anything
        raise UnsupportedError(
            f"onnx export: torch cannot export {type(net).__name__}: {first_line(error)}; where it is a teacher, an "
            "ONNX file of it serves as well"
        ) from error
    if program is None:
        raise EdgekdError("onnx export: torch returned no program")
    return program


def checked(program: torch.onnx.ONNXProgram) -> onnx.ModelProto:
    """The graph without what torch writes for itself. Raises EdgekdError where it is not what was asked for."""
    graph = program.model_proto
    _strip(graph)
    onnx.checker.check_model(graph, full_check=True)
    opset = next(entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))
    if opset != OPSET:
        raise EdgekdError(f"onnx export: asked for opset {OPSET}, torch wrote {opset}")
    return graph


def layer_values(program: torch.onnx.ONNXProgram, names: Collection[str], x: Tensor) -> dict[str, NDArray[Any]]:
    """What torch computes for the tensors `names` of the ONNX graph, which keeps the names of the exported program."""
    if not names:
        return {}
    recorder = _Recorder(program.exported_program.module(), names)  # type: ignore[union-attr]
    with torch.no_grad():
        recorder.run(x)
    return recorder.seen


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, names: Collection[str]) -> None:
        super().__init__(module)
        self.names, self.seen = names, dict[str, NDArray[Any]]()

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        if node.name in self.names:
            self.seen[node.name] = value.numpy().copy()
        return value


def _strip(graph: onnx.ModelProto) -> None:
    """Stack traces and scopes that torch writes behind every node: half of a small file."""
    del graph.metadata_props[:]
    del graph.graph.metadata_props[:]
    del graph.graph.value_info[:]
    for item in (*graph.graph.node, *graph.graph.initializer, *graph.graph.input, *graph.graph.output):
        del item.metadata_props[:]
        item.doc_string = ""


@contextmanager
def quiet() -> Iterator[None]:
    """Torch's exporter warns of its own deprecations, and that there is no torchvision: nobody can help it."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
