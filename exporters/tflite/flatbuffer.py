"""Building a TFLite model through LiteRT's own schema: tensors, operators, buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgekd.exporters.tflite.qdq import Quant

TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int32): schema.TensorType.INT32,
}
BUILTIN = schema.BuiltinOperator
OPTIONS = schema.BuiltinOptions
LAST_DEPRECATED_CODE = 127  # older readers look at a byte


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file: its index, its shape as TFLite has it (NHWC), its scale."""

    index: int
    shape: tuple[int, ...]
    quant: Quant | None = None
    planes: tuple[int, int, int] | None = None  # channels, height, width of the image that it was flattened from

    def flattened(self, planes: tuple[int, int, int] | None) -> Tensor:
        return replace(self, planes=planes)


class Builder:
    """Collects tensors and operators; `finish` gives the bytes of the file."""

    def __init__(self) -> None:
        self._model, self._graph = schema.ModelT(), schema.SubGraphT()
        self._model.version, self._model.description = 3, "edgekd"
        self._model.buffers, self._model.operatorCodes = [schema.BufferT()], []
        self._graph.tensors, self._graph.operators = [], []
        self._codes: dict[tuple[int, int], int] = {}

    def activation(self, name: str, shape: Sequence[int], quant: Quant | None) -> Tensor:
        """int8 with a scale, float32 without."""
        dtype = np.dtype(np.float32 if quant is None else np.int8)
        tensor = self._tensor(name, shape, dtype)
        if quant is not None:
            tensor.quantization = _quantization([quant.scale], [quant.zero_point], 0)
        return self._add(tensor, shape, quant)

    def constant(
        self, name: str, values: NDArray[Any], scale: NDArray[np.float64] | None = None, axis: int = 0
    ) -> Tensor:
        tensor = self._tensor(name, values.shape, values.dtype)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        tensor.buffer = len(self._model.buffers)
        self._model.buffers.append(buffer)
        if scale is not None:
            tensor.quantization = _quantization(scale, np.zeros(len(scale)), axis)
        return self._add(tensor, values.shape, None)

    def zero_point(self, tensor: Tensor, value: int) -> None:
        self._graph.tensors[tensor.index].quantization.zeroPoint = np.array([value], np.int64)

    def operator(
        self,
        code: int,
        version: int,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor],
        options: tuple[int, Any] | None = None,
    ) -> None:
        """One of TFLite's built-in operators at a version of its; an absent optional input is None."""
        made = schema.OperatorT()
        made.opcodeIndex = self._code(code, version)
        made.inputs = np.array([-1 if tensor is None else tensor.index for tensor in inputs], np.int32)
        made.outputs = np.array([tensor.index for tensor in outputs], np.int32)
        if options is not None:
            made.builtinOptionsType, made.builtinOptions = options
        self._graph.operators.append(made)

    def finish(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bytes:
        self._graph.inputs = [tensor.index for tensor in inputs]
        self._graph.outputs = [tensor.index for tensor in outputs]
        self._model.subgraphs = [self._graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _tensor(self, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> Any:
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name.encode(), TYPES[dtype], 0
        tensor.shape = np.array(shape, np.int32)
        return tensor

    def _add(self, tensor: Any, shape: Sequence[int], quant: Quant | None) -> Tensor:
        self._graph.tensors.append(tensor)
        return Tensor(len(self._graph.tensors) - 1, tuple(shape), quant)

    def _code(self, code: int, version: int) -> int:
        if (code, version) not in self._codes:
            made = schema.OperatorCodeT()
            made.builtinCode, made.version = code, version
            made.deprecatedBuiltinCode = min(code, LAST_DEPRECATED_CODE)
            self._codes[code, version] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(made)
        return self._codes[code, version]


def _quantization(scale: Any, zero_point: Any, axis: int) -> Any:
    made = schema.QuantizationParametersT()
    made.scale = np.asarray(scale, np.float32)
    made.zeroPoint = np.asarray(zero_point, np.int64)
    made.quantizedDimension = axis
    return made
