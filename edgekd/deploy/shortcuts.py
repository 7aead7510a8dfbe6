"""Strided shortcuts of residual nets without weights, said as the convolutions that integer kernels know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

MOVERS = ("Slice", "Pad")
SHORTCUT = ".shortcut"  # how the nodes' names end
ONE = 64  # times a scale of 1/64: products stay exact in floats, and two of uint8 fit 16 bits


@dataclass(frozen=True)
class _Shortcut:
    """From the dequantised `source` to `last`, what the moving nodes make: every n-th pixel, channels of zeros."""

    source: str
    last: str
    nodes: tuple[onnx.NodeProto, ...]
    strides: tuple[int, int]
    before: int
    after: int


def as_convolutions(graph: onnx.ModelProto) -> int:
    """
    In place: each quantised Slice of every n-th row and column, with the Pad of its channels, becomes a 1 x 1
    convolution with that stride and an identity for weights (He et al., "Deep residual learning for image
    recognition", 2015, option A). How many there were.

    The integers that come out are the same. Slices cut a graph of LiteRT's into parts of its delegate, and ONNX Runtime
    pads in float: docs/quantisation.md says what is gained.
    """
    found = _Graph(graph).shortcuts()
    if not found:
        return 0
    channels = _channels(graph)
    replaced = [shortcut for shortcut in found if shortcut.source in channels]
    for shortcut in replaced:
        _replace(graph.graph, shortcut, channels[shortcut.source])
    drop_unread(graph)
    return len(replaced)


def drop_unread(graph: onnx.ModelProto) -> None:
    """In place: constants that nothing reads go: no node, no branch of one, no output."""
    read = {name for node in graph.graph.node for name in node.input} | set(_branches(graph.graph))
    read |= {output.name for output in graph.graph.output}
    unread = [tensor for tensor in graph.graph.initializer if tensor.name not in read]
    for tensor in unread:
        graph.graph.initializer.remove(tensor)
    names = {tensor.name for tensor in unread}
    for value in [value for value in graph.graph.input if value.name in names]:  # where old files list them too
        graph.graph.input.remove(value)


def _branches(graph: onnx.GraphProto) -> Iterator[str]:
    """What the branches and bodies of a graph's nodes read: they see the names around them."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from (name for each in inner.node for name in each.input)
                yield from (output.name for output in inner.output)
                yield from _branches(inner)


def is_shortcut(node: onnx.NodeProto) -> bool:
    """Whether a convolution stands for a shortcut, by the names that it was given here."""
    return node.name == f"{node.output[0]}{SHORTCUT}"


class _Graph:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.elsewhere = {output.name for output in model.graph.output} | set(_branches(model.graph))  # read there
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def shortcuts(self) -> list[_Shortcut]:
        starts = [node for node in self.nodes if node.op_type == "Slice" and self._dequantised(node.input[0])]
        inside: set[str] = set()
        found = []
        for node in starts:
            if node.output[0] in inside:
                continue
            shortcut = self._from(node)
            if shortcut is not None:
                found.append(shortcut)
                inside |= {moved.output[0] for moved in shortcut.nodes}
        return found

    def _from(self, first: onnx.NodeProto) -> _Shortcut | None:
        """Downwards from a Slice, as long as nothing else reads what is moved and the scale stays the source's."""
        scale = self._scale(self.producers[first.input[0]])
        strides, before, after = [1, 1], 0, 0
        nodes: list[onnx.NodeProto] = []
        node: onnx.NodeProto | None = first
        while node is not None and node.op_type in MOVERS:
            if node.op_type == "Slice":
                steps = self._steps(node)
                if steps is None:
                    return None
                strides = [a * b for a, b in zip(strides, steps, strict=True)]
            else:
                amounts = self._channels_padded(node)
                if amounts is None:
                    return None
                before, after = before + amounts[0], after + amounts[1]
            nodes.append(node)
            node, between = self._next(node, scale)
            if node is not None and node.op_type in MOVERS:
                nodes += between
        last = next(moved for moved in reversed(nodes) if moved.op_type in MOVERS)
        quantised = self._sole(last)
        if strides == [1, 1] or quantised is None or self._scale(quantised) != scale:
            return None
        return _Shortcut(first.input[0], last.output[0], tuple(nodes), (strides[0], strides[1]), before, after)

    def _next(
        self, node: onnx.NodeProto, scale: tuple[Any, ...] | None
    ) -> tuple[onnx.NodeProto | None, list[onnx.NodeProto]]:
        """The one reader of what `node` moves, past a Q and DQ of the same scale, and those two."""
        reader = self._sole(node)
        if reader is None or reader.op_type != "QuantizeLinear":
            return reader, []
        back = self._sole(reader)
        if back is None or self._scale(reader) != scale or self._scale(back) != scale:
            return None, []
        return self._sole(back), [reader, back]

    def _sole(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        readers = self.readers.get(node.output[0], [])
        return readers[0] if len(readers) == 1 and node.output[0] not in self.elsewhere else None

    def _dequantised(self, name: str) -> bool:
        maker = self.producers.get(name)
        return maker is not None and maker.op_type == "DequantizeLinear" and self._scale(maker) is not None

    def _scale(self, node: onnx.NodeProto) -> tuple[Any, ...] | None:
        """Scale and zero point of a Q or DQ, where both are constants of a tensor."""
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3:
            return None
        values = [self.constants.get(name) for name in node.input[1:3]]
        if any(value is None or value.size != 1 for value in values):
            return None
        scale, zero = (value for value in values if value is not None)
        if scale.dtype != np.float32:
            return None
        return scale.item(), zero.item(), zero.dtype.name

    def _steps(self, node: onnx.NodeProto) -> tuple[int, int] | None:
        """Of rows and columns, where all of them are taken from the first to the last."""
        starts, ends, axes, steps = (self._constant(node, place) for place in (1, 2, 3, 4))
        if starts is None or ends is None or axes is None or steps is None:
            return None
        taken = {2: 1, 3: 1}
        for start, end, axis, step in zip(starts, ends, axes % 4, steps, strict=True):
            if axis not in taken or start != 0 or end < np.iinfo(np.int32).max or step < 1:
                return None
            taken[int(axis)] = int(step)
        return taken[2], taken[3]

    def _channels_padded(self, node: onnx.NodeProto) -> tuple[int, int] | None:
        """Before and after, where nothing but channels is padded, and that with zeros."""
        mode = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "mode"), b"constant")
        pads, value = self._constant(node, 1), self._constant(node, 2)
        with_zeros = len(node.input) < 3 or not node.input[2] or (value is not None and not np.any(value))
        if mode != b"constant" or pads is None or len(pads) != 8 or len(node.input) > 3 or not with_zeros:
            return None
        if np.any(pads < 0) or np.any(pads[[0, 2, 3, 4, 6, 7]]):
            return None
        return int(pads[1]), int(pads[5])

    def _constant(self, node: onnx.NodeProto, place: int) -> NDArray[Any] | None:
        return self.constants.get(node.input[place]) if place < len(node.input) else None


def _channels(graph: onnx.ModelProto) -> dict[str, int]:
    """Of every image tensor whose number of channels is known."""
    inferred = shape_inference.infer_shapes(graph).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*inferred.value_info, *inferred.input)}
    return {name: dims[1].dim_value for name, dims in shapes.items() if len(dims) == 4 and dims[1].dim_value}


def _replace(graph: onnx.GraphProto, shortcut: _Shortcut, channels: int) -> None:
    name, strides = shortcut.last, shortcut.strides
    weight = np.zeros((shortcut.before + channels + shortcut.after, channels, 1, 1), np.int8)
    weight[np.arange(channels) + shortcut.before, np.arange(channels)] = ONE
    constants: Sequence[tuple[str, NDArray[Any]]] = (
        ("weight", weight), ("scale", np.array(1 / ONE, np.float32)), ("zero_point", np.array(0, np.int8))
    )  # fmt: skip
    graph.initializer.extend(numpy_helper.from_array(values, f"{name}.{what}") for what, values in constants)
    identity = f"{name}.identity"
    made = [
        helper.make_node(
            "DequantizeLinear", [f"{name}.{what}" for what, _ in constants], [identity], f"{identity}.dequantise"
        ),
        helper.make_node(
            "Conv", [shortcut.source, identity], [name], f"{name}{SHORTCUT}", kernel_shape=[1, 1], strides=strides
        ),
    ]
    place = next(number for number, node in enumerate(graph.node) if node.output[0] == shortcut.nodes[0].output[0])
    for node in shortcut.nodes:
        graph.node.remove(node)
    for offset, node in enumerate(made):
        graph.node.insert(place + offset, node)
