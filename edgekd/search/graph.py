"""
The graph of a shape, with random weights, written at once: as ONNX, quantised in a dialect or in float.

Training, tracing and calibrating a candidate takes seconds, of which its latency needs nothing: a runtime's kernels
take as long for any weights and scales. What it makes of this graph is what it makes of a real export's, which a test
asserts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekd.hardware.dialect import Dialect
from edgekd.models.shape import BlockShape, NetShape, padding, side_after

OPSET = 20
SCALE = 0.05  # of activations; any will do
INPUT, OUTPUT = "pixel_values", "logits"


def written(
    shape: NetShape, image: tuple[int, int, int], classes: int, dialect: Dialect | None, seed: int = 0
) -> onnx.ModelProto:
    """The graph from pixels [batch, *image] to logits [batch, classes]; in float where `dialect` is None."""
    return _Writer(dialect, np.random.default_rng(seed)).model(shape, image, classes)


class _Writer:
    def __init__(self, dialect: Dialect | None, generator: np.random.Generator) -> None:
        self.dialect, self.generator = dialect, generator
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.sides = (0, 0)  # of the image between blocks

    def model(self, shape: NetShape, image: tuple[int, int, int], classes: int) -> onnx.ModelProto:
        x = self.quantised(INPUT)
        kernel = shape.stem_kernel
        x = self.quantised(self.relu(self.conv(x, image[0], shape.stem_width, kernel, shape.stem_stride)))
        self.sides = _after(image[1:], kernel, shape.stem_stride)
        for block in shape.blocks:
            x = getattr(self, block.kind)(x, block)
            self.sides = _after(self.sides, block.kernel, block.stride)
        width = shape.blocks[-1].out if shape.blocks else shape.stem_width
        pooled = self.node("ReduceMean", [x, self.constant(np.array([2, 3]))], keepdims=0)
        logits = self.gemm(self.quantised(pooled), width, classes)
        if self.dialect and self.dialect.logits == "quantised":
            logits = self.quantised(logits)
        self.nodes[-1].output[0] = OUTPUT
        graph = helper.make_graph(
            self.nodes, "student",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", *image])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", classes])],
            self.weights,
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)

    def residual(self, x: str, block: BlockShape) -> str:
        inner = self.quantised(self.relu(self.conv(x, block.width_in, block.inner, block.kernel, block.stride)))
        out = self.quantised(self.conv(inner, block.inner, block.out, block.kernel))
        if block.projects:
            x = self.quantised(self.conv(x, block.width_in, block.out, 1, block.stride))
        return self.quantised(self.relu(self.node("Add", [out, x])))

    def plain(self, x: str, block: BlockShape) -> str:
        return self.quantised(self.relu(self.conv(x, block.width_in, block.out, block.kernel, block.stride)))

    def skip(self, x: str, block: BlockShape) -> str:
        return self.quantised(self.node("Add", [x, self.plain(x, block)]))

    def inverted(self, x: str, block: BlockShape) -> str:
        inner = x
        if block.inner != block.width_in:
            inner = self.quantised(self.relu(self.conv(x, block.width_in, block.inner, 1)))
        inner = self.conv(inner, block.inner, block.inner, block.kernel, block.stride, groups=block.inner)
        out = self.quantised(self.conv(self.quantised(self.relu(inner)), block.inner, block.out, 1))
        return self.quantised(self.node("Add", [x, out])) if block.adds else out

    def encoder(self, x: str, block: BlockShape) -> str:
        width = block.out
        x = self.added(x, self.conv(x, width, width, block.kernel, groups=width))
        query, key, value = (self.heads(x, block) for _ in range(3))
        alike = self.quantised(
            self.node("MatMul", [self.quantised(self.node("Transpose", [key], perm=[0, 1, 3, 2])), query])
        )
        alike = self.node("Mul", [alike, self.constant(np.float32(block.head_width**-0.5))])
        share = self.quantised(self.node("Softmax", [alike], axis=2))
        out = self.quantised(self.node("MatMul", [value, share]))
        out = self.quantised(self.reshaped(out, [-1, block.attends, *self.sides]))
        x = self.added(x, self.conv(out, block.attends, width, 1))
        inner = self.quantised(self.relu(self.conv(x, width, block.inner, 1)))
        return self.added(x, self.conv(inner, block.inner, width, 1))

    def heads(self, x: str, block: BlockShape) -> str:
        made = self.quantised(self.conv(x, block.out, block.attends, 1))
        sizes = [-1, block.heads, block.head_width, self.sides[0] * self.sides[1]]
        return self.quantised(self.reshaped(made, sizes))

    def added(self, x: str, out: str) -> str:
        return self.quantised(self.node("Add", [x, self.quantised(out)]))

    def reshaped(self, x: str, sizes: Sequence[int]) -> str:
        return self.node("Reshape", [x, self.constant(np.array(sizes))])

    def conv(self, x: str, width_in: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> str:
        weight = self.weight((out, width_in // groups, kernel, kernel))
        bias = self.constant(self.generator.normal(size=out).astype(np.float32))
        return self.node(
            "Conv", [x, weight, bias], kernel_shape=[kernel, kernel], strides=[stride, stride],
            pads=[padding(kernel, stride)] * 4, group=groups,
        )  # fmt: skip

    def gemm(self, x: str, width: int, classes: int) -> str:
        bias = self.constant(self.generator.normal(size=classes).astype(np.float32))
        return self.node("Gemm", [x, self.weight((classes, width)), bias], transB=1)

    def relu(self, x: str) -> str:
        return self.node("Relu", [x])

    def quantised(self, x: str) -> str:
        """Q and DQ, where there is a dialect; the zero point of what no ReLU made is in the middle."""
        if self.dialect is None:
            return x
        unsigned = self.dialect.activation == "uint8-affine"
        low, high = self.dialect.activation_limits
        positive = bool(self.nodes) and self.nodes[-1].op_type == "Relu"
        middle = 0 if self.dialect.activation == "int8-symmetric" else (low + high + 1) // 2
        zero = low if positive and self.dialect.activation != "int8-symmetric" else middle
        sides = [self.constant(np.float32(SCALE)), self.constant(np.array(zero, np.uint8 if unsigned else np.int8))]
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, *sides]), *sides])

    def weight(self, shape: Sequence[int]) -> str:
        spread = float(np.prod(shape[1:])) ** -0.5
        if self.dialect is None:
            return self.constant((self.generator.normal(size=shape) * spread).astype(np.float32))
        top = self.dialect.weight_max
        integers = self.generator.integers(-top, top, shape, np.int8, endpoint=True)
        scales = np.full(shape[0], 3 * spread / top, np.float32)
        names = [self.constant(integers), self.constant(scales), self.constant(np.zeros(shape[0], np.int8))]
        return self.node("DequantizeLinear", names, axis=0)

    def constant(self, values: NDArray[Any] | np.generic) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name


def _after(sides: Sequence[int], kernel: int, stride: int) -> tuple[int, int]:
    rows, columns = (side_after(side, kernel, stride) for side in sides)
    return rows, columns
