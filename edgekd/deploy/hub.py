"""The hub: one ONNX graph a student and dialect, from which every exporter starts. Exporters never see torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from edgekd.data import signature
from edgekd.data.dataset import Dataset, preprocess
from edgekd.data.stages import Preprocess
from edgekd.deploy import reference
from edgekd.deploy.reference import Reference
from edgekd.deploy.stages import ExportFloat
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import EdgekdError
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
    x = torch.from_numpy(preprocess(data.split("val").images[:REFERENCE_IMAGES], settings))
    described = signature.of_images(data.image, data.labels, settings)
    graph = to_onnx(net, x[:2], described.inputs[0].name, described.outputs[0].name)
    onnx.save(graph, out / "model.onnx")
    signature.write(described, out)
    with torch.no_grad():
        logits = net(x).numpy()
        known = floats(x).numpy() if floats is not None else None
    reference.write(Reference({described.inputs[0].name: x.numpy()}, logits, known), out)


def to_onnx(net: nn.Module, example: Tensor, input_name: str, output_name: str) -> onnx.ModelProto:
    """A checked graph whose first axis stays free; `example` [B, ...] with B >= 2, so that B is not baked in."""
    with _quiet():
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
    if program is None:
        raise EdgekdError("onnx export: torch returned no program")
    graph = program.model_proto
    _strip(graph)
    onnx.checker.check_model(graph, full_check=True)
    opset = next(entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))
    if opset != OPSET:
        raise EdgekdError(f"onnx export: asked for opset {OPSET}, torch wrote {opset}")
    return graph


def _strip(graph: onnx.ModelProto) -> None:
    """Stack traces and scopes that torch writes behind every node: half of a small file."""
    del graph.metadata_props[:]
    del graph.graph.metadata_props[:]
    del graph.graph.value_info[:]
    for item in (*graph.graph.node, *graph.graph.initializer, *graph.graph.input, *graph.graph.output):
        del item.metadata_props[:]
        item.doc_string = ""


@contextmanager
def _quiet() -> Iterator[None]:
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
