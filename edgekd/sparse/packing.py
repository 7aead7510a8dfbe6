"""
Weights with zeros as a file can hold them: a bit a weight and the values that are not zero, spread out when it is read.

A runtime that computes constants as it opens a file, as ONNX Runtime does, then has the very graph that it would have
had: its answers and kernels are those of the dense file. What is saved is bytes on disk and on the way there; what it
costs is time to open.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgekd.sparse.proof import weights_of

OPSET = 18  # the first with BitwiseAnd
NODES = 600  # bytes of the nodes that spread one layer out, and of their names
POWERS, FLAT, AXIS, START = "unpack.powers", "unpack.flat", "unpack.axis", "unpack.start"


class Weighs(NamedTuple):
    size_bytes: int
    compressed_bytes: int  # in a zip: what an update over the air carries
    packed_bytes: int | None  # of one ONNX file with zeros packed; None of other formats


def weighs(files: Sequence[Path]) -> Weighs:
    """All files of an artifact together."""
    contents = [path.read_bytes() for path in files]
    alone = len(files) == 1 and files[0].suffix == ".onnx"
    return Weighs(
        sum(map(len, contents)),
        sum(len(zlib.compress(content, 9)) for content in contents),
        packed(onnx.load_from_string(contents[0])).ByteSize() if alone else None,
    )


def packed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, layers with many zeros packed; as it is where that saves nothing or its opset is too old."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    if max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")) < OPSET:
        return made
    graph, taken = made.graph, _worth(model)
    if not taken:
        return made
    kept = [tensor for tensor in graph.initializer if tensor.name not in taken]
    nodes = [node for name in taken for node in _spread(name)] + list(graph.node)
    held = [tensor for name, values in taken.items() for tensor in _held(name, values)]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend([*kept, *held, *_shared()])
    graph.node.extend(nodes)
    return made


def _worth(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Weights that are smaller packed, by the name of their initialiser."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    fed = {tensor.name for tensor in model.graph.input}
    found = {}
    for name in dict.fromkeys(layer.name for layer in weights_of(model)):
        values = numpy_helper.to_array(stored[name])
        size = -(-values.size // 8) + (np.count_nonzero(values) + 1) * values.itemsize + NODES
        if size < values.nbytes and name not in fed:
            found[name] = values
    return found


def _held(name: str, values: NDArray[Any]) -> Iterator[TensorProto]:
    """Values begin with the zero that all places without a bit take."""
    flat = values.ravel()
    parts = {
        "bits": np.packbits(flat != 0, bitorder="little").reshape(-1, 1),
        "values": np.concatenate([np.zeros(1, values.dtype), flat[flat != 0]]),
        "shape": np.array(values.shape, np.int64),
        "count": np.array([values.size], np.int64),
    }
    for part, array in parts.items():
        yield numpy_helper.from_array(array, f"{name}.{part}")


def _shared() -> list[TensorProto]:
    constants: dict[str, NDArray[Any]] = {
        POWERS: 2 ** np.arange(8, dtype=np.uint8).reshape(1, 8), FLAT: np.array([-1], np.int64),
        AXIS: np.array(0, np.int64), START: np.array([0], np.int64),
    }  # fmt: skip
    return [numpy_helper.from_array(array, name) for name, array in constants.items()]


def _spread(name: str) -> Iterator[NodeProto]:
    """From bits to 0 or 1 of each weight, to how many there are up to it, to the value of that number."""

    def node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
        return helper.make_node(kind, inputs, [output], f"{output}.unpack", **attributes)

    yield node("BitwiseAnd", [f"{name}.bits", POWERS], f"{name}.bit")
    yield node("Cast", [f"{name}.bit"], f"{name}.is", to=TensorProto.BOOL)
    yield node("Cast", [f"{name}.is"], f"{name}.ones", to=TensorProto.INT32)
    yield node("Reshape", [f"{name}.ones", FLAT], f"{name}.row")
    yield node("CumSum", [f"{name}.row", AXIS], f"{name}.sum")
    yield node("Mul", [f"{name}.sum", f"{name}.row"], f"{name}.all")
    yield node("Slice", [f"{name}.all", START, f"{name}.count"], f"{name}.places")
    yield node("Gather", [f"{name}.values", f"{name}.places"], f"{name}.spread")
    yield node("Reshape", [f"{name}.spread", f"{name}.shape"], name)
