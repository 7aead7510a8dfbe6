"""Take a teacher as it is given, once it is clear that it loads and knows the data's classes."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from edgekd.data.dataset import Dataset
from edgekd.deploy.given import load
from edgekd.engine.digest import digest_file
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError, EdgekdError, first_line
from edgekd.models import checkpoint, foreign
from edgekd.models.foreign import Foreign
from edgekd.models.residual_cnn import mac_count, parameter_count
from edgekd.teacher import given
from edgekd.teacher.answers import answers_of
from edgekd.teacher.labels import in_order_of
from edgekd.teacher.stages import Given, LoadTeacher


def run(settings: LoadTeacher, inputs: Mapping[str, Artifact], work: Work) -> None:
    told, data = settings.given, Dataset(inputs["data"])
    order = in_order_of(data.labels, told.labels) if told.labels else None
    with _said(f"teacher.from: {told.path} cannot be taken"):
        about = copied(told, order, work.out)
    now = given.inspect(told.path, told.weights, told.function, told.labels, told.revision)
    if now.digest != told.digest:
        raise ConfigError(f"teacher.from: {told.path} changed while the build began; run it again")
    if about is not None:
        (work.out / foreign.FILE).write_text(about.model_dump_json(indent=1), "utf-8")
    with _said(f"teacher.from: {told.path} does not load"):
        answer = answers_of(work.out)
    with _said(f"teacher.from: {told.path} does not answer pictures of {' x '.join(map(str, data.image))}"):
        logits = answer(torch.zeros(2, *data.image))
        size(work.out, data.image)
    if tuple(logits.shape) != (2, len(data.labels)):
        raise ConfigError(
            f"teacher.from: {told.path} answers {list(logits.shape)} for two pictures, the data has {len(data.labels)} "
            "classes; where it has others as well, name all of its classes in teacher.labels"
        )


@contextmanager
def _said(what: str) -> Iterator[None]:
    """Whatever a net of the person's raises becomes one sentence: it may be anything."""
    try:
        yield
    except EdgekdError:
        raise
    except Exception as error:
        raise ConfigError(f"{what}: {first_line(error)}") from error


def copied(told: Given, order: tuple[int, ...] | None, out: Path) -> Foreign | None:
    """The teacher's files in `out`; what they are, or None for edgekd's own."""
    if told.kind == "onnx":
        graph = load(Path(told.path))
        if order is not None and order != tuple(range(len(told.labels))):
            put_in_order(graph, order)
        onnx.save(graph, out / foreign.ONNX)
        return Foreign(kind="onnx", order=None)
    if told.kind == "module":
        shutil.copyfile(told.path, out / foreign.CODE)
        name = f"weights{Path(told.weights).suffix}" if told.weights else None
        if told.weights and name:
            shutil.copyfile(told.weights, out / name)
        return Foreign(kind="module", order=order, function=told.function, weights=name,
                       code_sha256=digest_file(out / foreign.CODE))  # fmt: skip
    folder = given.resolved(told.path, told.revision)
    for name, path in given.files_of(folder).items():
        shutil.copyfile(path, out / name)
    own = told.shape is not None and order == tuple(range(len(told.labels)))
    return None if own else Foreign(kind="transformers", order=order)


def size(folder: Path, image: tuple[int, int, int]) -> None:
    """Parameters and multiply-accumulates, which candidates are held against; those of an ONNX file are not counted."""
    about = foreign.described(folder)
    if about is not None and about.kind == "onnx":
        weights = onnx.load(folder / foreign.ONNX).graph.initializer
        found = {"params": sum(math.prod(tensor.dims) for tensor in weights), "macs": None}
    else:
        net = checkpoint.net_of(folder)
        found = {"params": parameter_count(net), "macs": mac_count(net, image)}
    (folder / "size.json").write_text(json.dumps(found), "utf-8")


def put_in_order(graph: onnx.ModelProto, order: tuple[int, ...]) -> None:
    """In place: the first output has the data's classes, in their order."""
    output = graph.graph.output[0]
    name = output.name
    for node in graph.graph.node:
        node.output[:] = [f"{name}.all" if made == name else made for made in node.output]
        node.input[:] = [f"{name}.all" if read == name else read for read in node.input]
    graph.graph.initializer.append(numpy_helper.from_array(np.array(order), f"{name}.order"))
    graph.graph.node.append(helper.make_node("Gather", [f"{name}.all", f"{name}.order"], [name], axis=1))
    output.type.tensor_type.ClearField("shape")
    output.CopyFrom(helper.make_tensor_value_info(name, output.type.tensor_type.elem_type, ["batch", len(order)]))
