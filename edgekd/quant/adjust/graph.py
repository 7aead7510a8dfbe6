"""What the adjustments need of an ONNX graph: who makes and reads a tensor, constants that can be replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]


class Graph:
    """A view of `model`, whose constants are replaced in place by `put`."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.outputs = {output.name for output in model.graph.output}

    def constant(self, name: str) -> Array | None:
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def is_kernel(self, name: str) -> bool:
        """Whether this is the kernel [O, I, h, w] of a convolution of images."""
        values = self.constant(name)
        return values is not None and values.ndim == 4

    def own(self, name: str) -> bool:
        """Whether `name` is a constant that one node alone reads, so that it can be changed for that node."""
        return name in self._constants and len(self.readers.get(name, [])) == 1

    def put(self, name: str, values: Array) -> None:
        self._constants[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))

    def add(self, name: str, values: Array) -> None:
        tensor = self.model.graph.initializer.add()
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))
        self._constants[name] = tensor

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def watched(
    model: onnx.ModelProto, names: Sequence[str], feeds: Mapping[str, Array], batch: int
) -> list[dict[str, Array]]:
    """The tensors `names` for each batch of `feeds`."""
    import onnxruntime as ort

    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    known = {output.name for output in seen.graph.output}
    seen.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(seen.SerializeToString(), options, providers=["CPUExecutionProvider"])
    count = len(next(iter(feeds.values()))) // batch * batch
    return [
        dict(zip(names, session.run(list(names), {n: a[at : at + batch] for n, a in feeds.items()}), strict=True))
        for at in range(0, count, batch)
    ]
