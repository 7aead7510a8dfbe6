"""The TFLite writer: each operator in LiteRT answers as the QDQ graph in ONNX Runtime does, to a step of its scale."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from edgekd.errors import UnavailableError
from edgekd.hardware.profile import load_profile
from edgekd.hardware.runtime import open_session

pytest.importorskip("ai_edge_litert")
from edgekd.exporters.graphs import fix_batch
from edgekd.exporters.tflite.operators import MOVERS, OPERATORS
from edgekd.exporters.tflite.translate import Translator

Nodes = list[onnx.NodeProto]
Constants = Mapping[str, np.ndarray]
DRAW = np.random.default_rng(0)


def graph_of(nodes: Nodes, constants: Constants, shape: tuple[int, ...], out: str = "y") -> onnx.ModelProto:
    """X [batch, ...] to `out`, float32."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


class Feeds(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, rows: np.ndarray) -> None:
        self.rows = iter([{"x": row[None]} for row in rows])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.rows, None)


def quantised(model: onnx.ModelProto, rows: np.ndarray, folder: Path) -> onnx.ModelProto:
    """In the dialect of int8 TFLite, by ONNX Runtime's quantiser."""
    onnx.save(onnx.shape_inference.infer_shapes(model), folder / "float.onnx")
    quantize_static(
        str(folder / "float.onnx"), str(folder / "qdq.onnx"), Feeds(rows), quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, per_channel=True,
        op_types_to_quantize=None, extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )  # fmt: skip
    return onnx.load(folder / "qdq.onnx")


def in_onnxruntime(model: onnx.ModelProto, x: np.ndarray) -> Any:
    """The float kernels between Q and DQ: the arithmetic that the graph states."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([np.asarray(session.run(None, {"x": row[None]})[0]) for row in x])


def in_litert(model: onnx.ModelProto, x: np.ndarray, folder: Path, *, xnnpack: bool) -> np.ndarray:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fix_batch(fixed)
    (folder / "m.tflite").write_bytes(Translator(fixed, OPERATORS, MOVERS).file())
    spec = load_profile("local-cpu").runtime("litert").model_copy(update={"xnnpack": xnnpack})
    session = open_session(folder / "m.tflite", spec)
    rows = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x
    return np.concatenate([session.run({"x": row[None]})[0] for row in rows])


def agrees(model: onnx.ModelProto, rows: np.ndarray, folder: Path, steps: float = 1.01) -> None:
    same(quantised(model, rows, folder), rows, folder, steps)


def same(qdq: onnx.ModelProto, rows: np.ndarray, folder: Path, steps: float) -> None:
    expected = in_onnxruntime(qdq, rows)
    step = last_scale(qdq)
    for xnnpack in (True, False):
        actual = in_litert(qdq, rows, folder, xnnpack=xnnpack)
        if actual.ndim == 4:
            actual = actual.transpose(0, 3, 1, 2)
        assert actual.shape == expected.shape
        assert np.abs(actual - expected).max() <= steps * step
        assert np.mean(np.abs(actual - expected) <= 0.01 * step) > 0.7  # most are the very same integer
        assert np.ptp(actual) > 5 * step  # and it is no constant


def last_scale(qdq: onnx.ModelProto) -> float:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in qdq.graph.initializer}
    maker = next(node for node in qdq.graph.node if node.output[0] == qdq.graph.output[0].name)
    assert maker.op_type == "DequantizeLinear"
    return float(constants[maker.input[1]])


def weight(*shape: int) -> np.ndarray:
    """Each output channel with a range of its own."""
    values = DRAW.standard_normal(shape) * np.exp(DRAW.standard_normal((shape[0], *[1] * (len(shape) - 1))))
    return np.asarray(values / np.sqrt(np.prod(shape[1:])), np.float32)


def node(op: str, *inputs: str, out: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), [out], name=f"{op}_{out}", **attributes)


IMAGE = (8, 9, 10)  # channels, height, width: no two alike
B = DRAW.standard_normal(5).astype(np.float32)


def image(nodes: Nodes, constants: Constants) -> onnx.ModelProto:
    """The nodes, from x to y, both images."""
    return graph_of(nodes, constants, IMAGE)


def conv(x: str, out: str, **attributes: Any) -> onnx.NodeProto:
    return node("Conv", x, "w", "b", out=out, **attributes)


W3 = {"w": weight(8, 8, 3, 3), "b": DRAW.standard_normal(8).astype(np.float32)}
DW = {"w": weight(8, 1, 3, 3), "b": W3["b"]}
SQUEEZE = {**W3, "w2": weight(8, 8, 1, 1)}
SLICES = {name: np.array(values, np.int64) for name, values in (
    ("from", [0, 1]), ("to", [9, 10]), ("axes", [2, 3]), ("steps", [2, 3]), ("pads", [0, 0, 0, 0, 0, 0, 0, 0]),
    ("shortcut", [0, 4, 0, 0, 0, 4, 0, 0]))}  # fmt: skip
STEM = node("Conv", "x", "w", "b", out="c", pads=[1, 1, 1, 1])  # ONNX Runtime's quantiser begins at a convolution
CASES: dict[str, onnx.ModelProto] = {
    "convolution, valid": image([conv("x", "y")], W3),
    "convolution, same": image([conv("x", "y", pads=[1, 1, 1, 1])], W3),
    "convolution, symmetric pads and stride 2": image([conv("x", "y", pads=[1, 1, 1, 1], strides=[2, 2])], W3),
    "convolution, dilated": image([conv("x", "y", pads=[2, 2, 2, 2], dilations=[2, 2])], W3),
    "convolution, odd pads": image([conv("x", "y", pads=[0, 1, 2, 0])], W3),
    "convolution without a bias": image([node("Conv", "x", "w")], {"w": W3["w"]}),
    "convolution and ReLU": image([conv("x", "c"), node("Relu", "c")], W3),
    "convolution and ReLU6": image(
        [conv("x", "c"), node("Clip", "c", "low", "high")],
        {**W3, "low": np.array(0, np.float32), "high": np.array(6, np.float32)},
    ),
    "depthwise": image([conv("x", "y", group=8, pads=[1, 1, 1, 1])], DW),
    "depthwise, stride 2": image([conv("x", "y", group=8, pads=[1, 1, 1, 1], strides=[2, 2])], DW),
    "depthwise, two a channel": image(
        [conv("x", "y", group=8)], {"w": weight(16, 1, 3, 3), "b": np.ones(16, np.float32)}
    ),
    "residual": image([STEM, node("Add", "x", "c")], W3),
    "residual and ReLU": image([STEM, node("Add", "x", "c", out="a"), node("Relu", "a")], W3),
    "squeeze and excite": image(
        [
            conv("x", "c"),
            node("GlobalAveragePool", "c", out="s"),
            node("Conv", "s", "w2", out="e"),
            node("Sigmoid", "e", out="g"),
            node("Mul", "c", "g"),
        ],
        SQUEEZE,
    ),
    "max pool": image([STEM, node("MaxPool", "c", kernel_shape=[2, 2], strides=[2, 2])], W3),
    "max pool, padded": image([STEM, node("MaxPool", "c", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], W3),
    "average pool": image([STEM, node("AveragePool", "c", kernel_shape=[3, 2], strides=[2, 2])], W3),
    "average pool, padded": image([STEM, node("AveragePool", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], W3),
    "global average pool": image([STEM, node("GlobalAveragePool", "c")], W3),
    "concatenation": image([STEM, node("Concat", "x", "c", axis=1)], W3),
    "option-A shortcut": image(
        [
            STEM,
            node("Slice", "c", "from", "to", "axes", "steps", out="s"),
            node("Pad", "s", "shortcut", out="q"),
            node("Conv", "q", "wide"),
        ],
        {**W3, **SLICES, "wide": weight(8, 16, 1, 1)},
    ),
    "flatten of an image": graph_of(
        [STEM, node("Flatten", "c", out="f"), node("Gemm", "f", "W", "B", transB=1)],
        {**W3, "W": weight(5, 8 * 9 * 10), "B": B},
        IMAGE,
    ),
    "linear": graph_of([node("Gemm", "x", "W", "B", transB=1)], {"W": weight(5, 8), "B": B}, (8,)),
    "linear and ReLU": graph_of(
        [node("Gemm", "x", "W", "B", transB=1, out="f"), node("Relu", "f")], {"W": weight(5, 8), "B": B}, (8,)
    ),
    "matrix product": graph_of([node("MatMul", "x", "V")], {"V": weight(8, 4)}, (8,)),
    "softmax": graph_of(
        [node("Gemm", "x", "W", "B", transB=1, out="f"), node("Softmax", "f", axis=1)],
        {"W": 4 * weight(5, 8), "B": B},
        (8,),
    ),
}


STEPS = {
    "residual and ReLU": 3.01,
    "squeeze and excite": 3.01,
    "option-A shortcut": 3.01,
}  # a step in each of a few layers


@pytest.mark.parametrize("name", CASES)
def test_an_operator_answers_as_the_graph_states(name: str, tmp_path: Path) -> None:
    model = CASES[name]
    shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim][1:]
    agrees(model, DRAW.standard_normal((24, *shape)).astype(np.float32), tmp_path, STEPS.get(name, 1.01))


def between(op: onnx.NodeProto, constants: Constants, scale: float, zero_point: int) -> onnx.ModelProto:
    """One operator from "a" to "b" between Q and DQ, for what ONNX Runtime's quantiser does not know."""
    fixed = {"sx": np.float32(0.03), "zx": np.int8(-5), "sy": np.float32(scale), "zy": np.int8(zero_point)}
    nodes = [
        node("QuantizeLinear", "x", "sx", "zx", out="xq"),
        node("DequantizeLinear", "xq", "sx", "zx", out="a"),
        op,
        node("QuantizeLinear", "b", "sy", "zy", out="yq"),
        node("DequantizeLinear", "yq", "sy", "zy"),
    ]
    return graph_of(nodes, {name: np.asarray(array) for name, array in (fixed | dict(constants)).items()}, IMAGE)


@pytest.mark.parametrize(
    "model",
    [
        between(node("HardSwish", "a", out="b"), {}, 0.02, -110),
        between(node("ReduceMean", "a", "hw", out="b", keepdims=0), {"hw": np.array([2, 3])}, 0.004, 3),
        between(node("ReduceMean", "a", "hw", out="b", keepdims=1), {"hw": np.array([2, 3])}, 0.004, 3),
    ],
    ids=["hard swish", "mean", "mean that keeps its axes"],
)
def test_what_only_qat_quantises_answers_as_the_graph_states(model: onnx.ModelProto, tmp_path: Path) -> None:
    same(model, DRAW.standard_normal((24, *IMAGE)).astype(np.float32), tmp_path, steps=1.01)


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)), stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 2)] * 4), channels=st.integers(1, 9), depthwise=st.booleans(),
    size=st.tuples(st.integers(5, 12), st.integers(5, 12)),
)  # fmt: skip
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_window_lands_where_onnx_puts_it(
    tmp_path: Path, kernel: tuple[int, int], stride: tuple[int, int], pads: tuple[int, ...], channels: int,
    depthwise: bool, size: tuple[int, int],
) -> None:  # fmt: skip
    alone = channels if depthwise and channels > 1 else 1
    w = {"w": weight(channels, channels // alone, *kernel), "b": np.zeros(channels, np.float32)}
    nodes = [conv("x", "y", strides=list(stride), pads=list(pads), group=alone)]
    model = graph_of(nodes, w, (channels, *size))
    agrees(model, DRAW.standard_normal((16, channels, *size)).astype(np.float32), tmp_path)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (image([STEM, node("Erf", "c")], W3), r"layer 'Erf_y' \(Erf\): this operator is not known"),
        (image([conv("x", "y", group=2)], {"w": weight(8, 4, 3, 3), "b": W3["b"]}), r"layer 'Conv_y' .*2 groups of 4"),
        (image([conv("x", "y", auto_pad="SAME_LOWER")], W3), r"layer 'Conv_y' .*auto_pad and ceil_mode are not known"),
        (image([STEM, node("Pad", "c", "edge", mode="edge")],
                {**W3, "edge": np.array([0, 0, 1, 1, 0, 0, 1, 1])}), r"layer 'Pad_y' .*padding is known with zeros"),
    ],
)  # fmt: skip
def test_what_it_cannot_write_is_named_with_its_layer(model: onnx.ModelProto, says: str, tmp_path: Path) -> None:
    rows = DRAW.standard_normal((4, *IMAGE)).astype(np.float32)
    with pytest.raises(UnavailableError, match=says):
        in_litert(quantised(model, rows, tmp_path), rows, tmp_path, xnnpack=True)


def test_another_dialect_is_refused_by_its_name(tmp_path: Path) -> None:
    rows = DRAW.standard_normal((4, *IMAGE)).astype(np.float32)
    qdq = quantised(CASES["convolution, valid"], rows, tmp_path)
    for tensor in qdq.graph.initializer:
        if tensor.data_type == TensorProto.INT8 and not tensor.dims:
            tensor.CopyFrom(numpy_helper.from_array(np.array(128, np.uint8), tensor.name))
    with pytest.raises(UnavailableError, match="activations are uint8, and int8 TFLite wants int8"):
        in_litert(qdq, rows, tmp_path, xnnpack=True)


def test_an_unquantised_layer_is_named(tmp_path: Path) -> None:
    model = CASES["convolution, valid"]
    with pytest.raises(UnavailableError, match=r"layer 'Conv_y' \(Conv\)"):
        in_litert(model, np.zeros((1, *IMAGE), np.float32), tmp_path, xnnpack=True)
