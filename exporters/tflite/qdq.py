"""A QDQ ONNX graph as a TFLite writer wants to see it: what is constant, what is quantised, who reads whom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekd.errors import UnsupportedError

Array = NDArray[Any]
PASSING = ("Identity", "Dropout")


@dataclass(frozen=True)
class Quant:
    """Scale and zero point of an activation, per tensor."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class Weight:
    """Integers as stored, and the scale of each index along `axis` (or one for all)."""

    values: Array
    scale: NDArray[np.float64]
    axis: int


class QdqGraph:
    """Read-only; raises UnsupportedError naming the layer for what is not quantised as int8 TFLite needs it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = attributes(node)["value"]

    @cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        return {name: node for node in self.graph.node for name in node.output}

    @cached_property
    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    def constant(self, node: onnx.NodeProto, number: int) -> Array | None:
        """An optional input that must be constant where it is there."""
        if number >= len(node.input) or not node.input[number]:
            return None
        name = node.input[number]
        if name not in self.constants:
            raise lacks(node, f"its input {name!r} is computed, and must be constant")
        return self.constants[name]

    def source(self, node: onnx.NodeProto, name: str) -> str:
        """The quantised tensor that a float input of `node` was dequantised from."""
        maker = self.producers.get(name)
        while maker is not None and maker.op_type in PASSING:
            name = maker.input[0]
            maker = self.producers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] in self.constants:
            raise lacks(node, f"its input {name!r} is not quantised")
        return str(maker.input[0])

    def weight(self, node: onnx.NodeProto, name: str) -> Weight:
        maker = self.producers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] not in self.constants:
            raise lacks(node, f"its weight {name!r} is not quantised")
        values, scale = self.constants[maker.input[0]], self.constants[maker.input[1]]
        zero = self.constants[maker.input[2]] if len(maker.input) > 2 and maker.input[2] else np.zeros(1)
        if np.any(zero != 0):
            raise lacks(node, "its weight has a zero point; int8 TFLite knows symmetric weights only")
        return Weight(values, np.atleast_1d(scale).astype(np.float64), int(attributes(maker).get("axis", 1)))

    def bias(self, node: onnx.NodeProto, number: int, scale: NDArray[np.float64]) -> NDArray[np.int32] | None:
        """In int32 at `scale` [C], from float or from int32 that has just that scale."""
        if number >= len(node.input) or not node.input[number]:
            return None
        name = node.input[number]
        maker = self.producers.get(name)
        if maker is not None and maker.op_type == "DequantizeLinear":
            stored = self.constants[maker.input[0]].astype(np.float64)
            values = stored * np.asarray(self.constants[maker.input[1]], np.float64)
        else:
            values = np.asarray(self.constant(node, number), np.float64)
        limits = np.iinfo(np.int32)
        return np.clip(np.round(values / scale), limits.min, limits.max).astype(np.int32)

    def quantised_output(self, node: onnx.NodeProto) -> tuple[str, Quant, str | None]:
        """
        The quantised tensor that becomes of what `node` makes, its scale, and the activation fused on the way.

        A ReLU between the node and its QuantizeLinear is one with the node: its zero point clips by itself.
        """
        name, fused = node.output[0], None
        while True:
            readers = self.consumers.get(name, [])
            makers = [reader for reader in readers if reader.op_type == "QuantizeLinear"]
            if makers:
                return makers[0].output[0], self.quant(makers[0]), fused
            if len(readers) == 1 and (clip := self.clipping(readers[0])):
                fused = fused if readers[0].op_type in PASSING else clip
                name = readers[0].output[0]
                continue
            raise lacks(node, f"its output {name!r} is not quantised")

    def clipping(self, node: onnx.NodeProto) -> str | None:
        """The activation that can be fused into the layer before; a word for what only passes on."""
        if node.op_type in ("Relu", *PASSING):
            return str(node.op_type)
        if node.op_type == "Clip":
            low, high = (self.constant(node, number) for number in (1, 2))
            if low is not None and high is not None and (float(low), float(high)) == (0.0, 6.0):
                return "Relu6"
        return None

    def quant(self, node: onnx.NodeProto) -> Quant:
        """Of a QuantizeLinear or DequantizeLinear of an activation."""
        scale = np.asarray(self.constants[node.input[1]])
        zero = self.constants[node.input[2]] if len(node.input) > 2 and node.input[2] else np.zeros((), np.uint8)
        if scale.size != 1:
            raise lacks(node, "activations have one scale each in int8 TFLite")
        if np.asarray(zero).dtype != np.int8:
            raise lacks(node, f"activations are {np.asarray(zero).dtype}, and int8 TFLite wants int8: another dialect")
        return Quant(float(scale.reshape(())), int(np.asarray(zero).reshape(())))


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {
        name: numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
        for name, value in found.items()
    }


def lacks(node: onnx.NodeProto, why: str) -> UnsupportedError:
    return UnsupportedError(
        f"layer {node.name or node.output[0]!r} ({node.op_type}): {why}; choose another runtime for this model"
    )
