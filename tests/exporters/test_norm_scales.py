"""Scales of layer norms as the HTP takes them: the same numbers, stored otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from helpers import compiled
from onnx import TensorProto, helper, numpy_helper

from edgekd.deploy.given import float_answers
from edgekd.exporters.graphs import norm_scales_as_uint8
from edgekd.hardware.dialect import Dialect
from edgekd.quant.onnx_ptq import quantise

ALL = Dialect(
    activation="uint8-affine", reduced_range=False, logits="quantised", float_operators=(), between_products="quantised"
)


def scales(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    return [constants[makers[norm.input[1]].input[0]] for norm in norms]


def test_int8_scales_become_the_same_numbers_in_uint8(tmp_path: Path) -> None:
    model, feeds, _ = compiled.family("vit", tmp_path)
    quantise(model, feeds, ALL, tmp_path / "int8.onnx")
    graph = onnx.load(tmp_path / "int8.onnx")
    assert {tensor.data_type for tensor in scales(graph)} == {TensorProto.INT8}
    norm_scales_as_uint8(graph)
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, tmp_path / "uint8.onnx")
    assert {tensor.data_type for tensor in scales(graph)} == {TensorProto.UINT8}
    before, after = (float_answers(tmp_path / name, feeds) for name in ("int8.onnx", "uint8.onnx"))
    np.testing.assert_array_equal(before, after)


def test_float_scales_become_the_nearest_of_256_levels_once_for_all_norms_that_share_them(tmp_path: Path) -> None:
    scale, bias = np.linspace(-0.4, 1.9, 24, dtype=np.float32), np.zeros(24, np.float32)
    norms = [
        helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["y"], axis=-1),
        helper.make_node("LayerNormalization", ["y", "scale", "bias"], ["z"], axis=-1),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 24]) for name in "xz"]
    stored = [numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(bias, "bias")]
    graph = helper.make_graph(norms, "norms", values[:1], values[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    norm_scales_as_uint8(model)
    onnx.checker.check_model(model, full_check=True)
    assert len([node for node in model.graph.node if node.op_type == "DequantizeLinear"]) == 1
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    levels = constants["scale.uint8"].astype(np.float32) - constants["scale.zero"]
    np.testing.assert_allclose(levels * constants["scale.scale"], scale, atol=0.51 * 2.3 / 255)
