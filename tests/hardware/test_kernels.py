"""What a runtime runs of a shape: counted by hand, and in the graph that ONNX Runtime makes of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from edgekd.hardware.dialect import Dialect
from edgekd.hardware.kernels import Kernel, features, kernels
from edgekd.hardware.runtimes.onnxruntime import OnnxRuntimeSession
from edgekd.hardware.specs import plain_onnxruntime
from edgekd.models.shape import NetShape, parameters, resnet
from edgekd.search.graph import written
from edgekd.search.space import sample
from edgekd.search.spaces import ResidualCnnSpace, VitSpace

IMAGE = (3, 32, 32)
U8 = Dialect(activation="uint8-affine", reduced_range=True)
MIXED = ResidualCnnSpace(kinds=("residual", "plain", "skip", "inverted"), kernels=(3, 5), stem_kernels=(3, 4, 6))
OPERATORS = {
    "QLinearConv": "conv", "Conv": "conv", "FusedConv": "conv", "QLinearAdd": "add", "Add": "add", "ReduceMean": "pool",
    "Gemm": "gemm", "QLinearMatMul": "product", "MatMul": "product", "FusedMatMul": "product", "Softmax": "softmax",
}  # fmt: skip


def test_resnet_8_counted_by_hand() -> None:
    """A stem, three blocks of two convolutions, and three projections: the first block is as wide as the stem."""
    found = kernels(resnet(8), IMAGE, 10, quantised=True)
    assert Counter(kernel.kind for kernel in found) == {
        "quantize": 1, "conv": 7, "pointwise": 2, "add": 3, "pool": 1, "gemm": 1,
    }  # fmt: skip
    assert sum(kernel.macs for kernel in found) == 12_501_632
    assert sum(kernel.weights for kernel in found) == parameters(resnet(8)) - 10 - 2 * 16 * 3 - 2 * 32 * 3 - 2 * 64 * 3


def test_an_inverted_block_counted_by_hand() -> None:
    shape = NetShape(stem_width=8, stem_stride=2, stem_kernel=4, widths=((24, 16),), strides=(2,), kinds=("inverted",))
    assert kernels(shape, (3, 33, 32), 5, quantised=False) == (
        Kernel("conv", 33, 32, 3, 16, 16, 8, kernel=4, stride=2),
        Kernel("pointwise", 16, 16, 8, 16, 16, 24),
        Kernel("depthwise", 16, 16, 24, 8, 8, 24, kernel=3, stride=2, groups=24),
        Kernel("pointwise", 8, 8, 24, 8, 8, 16),
        Kernel("pool", 8, 8, 16, 1, 1, 16),
        Kernel("gemm", 1, 1, 16, 1, 1, 5),
    )
    assert [kernel.macs for kernel in kernels(shape, (3, 33, 32), 5, quantised=False)] == [
        98_304, 49_152, 13_824, 24_576, 0, 80,
    ]  # fmt: skip


@pytest.mark.parametrize("dialect", [U8, None], ids=["u8", "float"])
def test_there_are_those_that_onnx_runtime_runs(dialect: Dialect | None, tmp_path: Path) -> None:
    """Of each convolution also the shape of its weights; of what remains, what is moved is not counted."""
    few_heads = VitSpace(head_width=16, heads=(0.5,))
    for shape in [*sample(MIXED, 6, seed=7), *sample(VitSpace(), 3, seed=7), *sample(few_heads, 1, seed=7)]:
        graph = written(shape, IMAGE, 10, dialect)
        onnx.save(graph, tmp_path / "model.onnx")
        OnnxRuntimeSession(tmp_path / "model.onnx", plain_onnxruntime(), tmp_path / "made.onnx").close()
        made = onnx.load(tmp_path / "made.onnx").graph
        ours = kernels(shape, IMAGE, 10, quantised=dialect is not None)
        kinds = Counter("conv" if kernel.kind in ("pointwise", "depthwise") else kernel.kind for kernel in ours)
        kinds.pop("quantize", None)
        assert Counter(OPERATORS[node.op_type] for node in made.node if node.op_type in OPERATORS) == kinds, shape
        fused = sum(node.op_type in ("Conv", "FusedConv") and len(node.input) == 4 for node in made.node)
        assert sum(kernel.adds and kernel.kind != "add" for kernel in ours) == fused
        if dialect:
            held = {tensor.name: numpy_helper.to_array(tensor).shape for tensor in made.initializer}
            weights = Counter(held[node.input[3]] for node in made.node if node.op_type == "QLinearConv")
            convolutions = [k for k in ours if k.kind in ("conv", "pointwise", "depthwise")]
            assert Counter((k.channels, k.channels_in // k.groups, k.kernel, k.kernel) for k in convolutions) == weights


def test_features_are_sums_over_kernels() -> None:
    net = kernels(resnet(14), IMAGE, 10, quantised=True)
    found = features(net)
    assert found["conv.calls"] + found["pointwise.calls"] == 15
    assert found["conv.macs"] + found["pointwise.macs"] == sum(k.macs for k in net) - 640
    assert found["add.read"] == 2 * (16 * 1024 + 32 * 256 + 64 * 64)
    assert features(net + net) == {name: 2 * value for name, value in found.items()}


def test_channels_are_filled_up_to_vectors() -> None:
    odd = Kernel("conv", 1, 1, 9, 1, 1, 17, kernel=3)
    assert features([odd])["conv.filled_macs"] == 9 * 16 * 32
    assert features([odd])["conv.macs"] == 9 * 9 * 17
