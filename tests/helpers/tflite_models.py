"""A small TFLite file, written by LiteRT's own schema."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def linear(weight: np.ndarray, path: Path, *, custom: str | None = None) -> Path:
    """X [batch, I] to y [batch, C] by one fully connected layer, float32; or by a `custom` operator."""
    classes, inputs = weight.shape
    code = schema.OperatorCodeT()
    if custom:
        code.builtinCode, code.customCode = schema.BuiltinOperator.CUSTOM, custom
    else:
        code.builtinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1], [2]
    if not custom:
        operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph = schema.SubGraphT()
    graph.tensors = [
        _tensor("x", [1, inputs], 0, [-1, inputs]),
        _tensor("w", [classes, inputs], 1),
        _tensor("y", [1, classes], 0, [-1, classes]),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [operator]
    data = schema.BufferT()
    data.data = np.frombuffer(weight.astype(np.float32).tobytes(), np.uint8)
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT(), data]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path


def _tensor(name: str, shape: list[int], buffer: int, signature: list[int] | None = None) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer, tensor.type = name, shape, buffer, schema.TensorType.FLOAT32
    tensor.shapeSignature = signature
    return tensor
