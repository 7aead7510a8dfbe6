"""From a QDQ ONNX graph to TFLite operators: NHWC (outputs too), batch 1, int8 inside, float32 at both ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgekd.exporters.tflite.flatbuffer import BUILTIN, OPTIONS, Builder, Tensor
from edgekd.exporters.tflite.qdq import QdqGraph, Quant, lacks

TO_NHWC = (0, 2, 3, 1)
Mover = Callable[["Translator", onnx.NodeProto], Tensor]
Operator = Callable[["Translator", onnx.NodeProto, "Out"], Tensor]
FUSING = ("Conv", "Gemm", "MatMul", "Add", "Mul")  # TFLite's own can end in a ReLU


@dataclass(frozen=True)
class Out:
    """What an operator has to make: the quantised tensor's name and scale, and the activation fused into it."""

    name: str
    quant: Quant
    fused: str | None = None


class Translator:
    """
    What was translated so far: each quantised tensor of the ONNX graph and its twin in TFLite.

    `operators` compute, and end in a QuantizeLinear; `movers` (reshape, pad, slice) keep the scale of their input and
    need none of their own.
    """

    def __init__(self, model: onnx.ModelProto, operators: dict[str, Operator], movers: dict[str, Mover]) -> None:
        self.qdq, self.builder = QdqGraph(model), Builder()
        self.operators, self.movers = operators, movers
        self.made: dict[str, Tensor] = {}

    def file(self) -> bytes:
        graph = self.qdq.graph
        for node in graph.node:
            if node.op_type not in (*self.operators, *self.movers, *BETWEEN):
                raise lacks(node, "this operator is not known to the TFLite writer")
        inputs = [value for value in graph.input if value.name not in self.qdq.constants]
        opened = [self._input(value) for value in inputs]
        for node in graph.node:
            if node.op_type in self.operators:
                out = Out(*self.qdq.quantised_output(node))
                if out.fused and node.op_type not in FUSING:
                    raise lacks(node, f"its {out.fused} cannot be fused; quantise in between")
                self.made[out.name] = self.operators[node.op_type](self, node, out)
            elif node.op_type == "QuantizeLinear" and node.output[0] not in self.made:
                self._quantise(node)
        return self.builder.finish(opened, [self._output(value) for value in graph.output])

    def value(self, node: onnx.NodeProto, name: str) -> Tensor:
        """What a float input of `node` is in TFLite; what only moves it is translated on the way."""
        maker = self.qdq.producers.get(name)
        if maker is not None and maker.op_type in self.movers:
            return self.movers[maker.op_type](self, maker)
        source = self.qdq.source(node, name)
        if source not in self.made:
            raise lacks(node, f"its input {name!r} was not translated")
        return self.made[source]

    def requantised(self, tensor: Tensor, name: str, quant: Quant) -> Tensor:
        """At another scale; itself where it has that already."""
        if tensor.quant == quant:
            return tensor
        made = self.builder.activation(name, tensor.shape, quant)
        self.builder.operator(
            BUILTIN.QUANTIZE, 2, [tensor], [made], (OPTIONS.QuantizeOptions, schema.QuantizeOptionsT())
        )
        return made

    def _input(self, value: onnx.ValueInfoProto) -> Tensor:
        """A float input in NHWC, and its QUANTIZE."""
        shape = [axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim]
        nhwc = [shape[axis] for axis in TO_NHWC] if len(shape) == 4 else shape
        opened = self.builder.activation(value.name, nhwc, None)
        for node in self.qdq.consumers.get(value.name, []):
            if node.op_type != "QuantizeLinear":
                raise lacks(node, f"it reads the input {value.name!r} in float")
            self.made[node.output[0]] = self.requantised(opened, node.output[0], self.qdq.quant(node))
        return opened

    def _quantise(self, node: onnx.NodeProto) -> None:
        """A QuantizeLinear whose maker is no operator: something moved, or a tensor at a second scale."""
        if node.input[0] in self.qdq.producers:
            self.made[node.output[0]] = self.requantised(
                self.value(node, node.input[0]), node.output[0], self.qdq.quant(node)
            )

    def _output(self, value: onnx.ValueInfoProto) -> Tensor:
        maker = self.qdq.producers[value.name]
        if maker.op_type != "DequantizeLinear" or maker.input[0] not in self.made:
            raise lacks(maker, f"the output {value.name!r} is not quantised")
        quantised = self.made[maker.input[0]]
        closed = self.builder.activation(value.name, quantised.shape, None)
        self.builder.operator(
            BUILTIN.DEQUANTIZE, 2, [quantised], [closed], (OPTIONS.DequantizeOptions, schema.DequantizeOptionsT())
        )
        return closed


BETWEEN = ("QuantizeLinear", "DequantizeLinear", "Relu", "Clip", "Identity", "Dropout", "Constant")


def constant_int32(translator: Translator, name: str, values: object) -> Tensor:
    return translator.builder.constant(name, np.asarray(values, np.int32))
