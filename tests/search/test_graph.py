"""What is measured of a candidate before it is trained is what a runtime makes of its real export."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from edgekd.deploy import hub
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.runtimes.onnxruntime import OnnxRuntimeSession
from edgekd.hardware.specs import plain_onnxruntime
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.quant.ptq import calibrated
from edgekd.search.graph import INPUT, OUTPUT, written
from edgekd.search.space import sample
from edgekd.search.spaces import ResidualCnnSpace, VitSpace

MIXED = ResidualCnnSpace(
    kinds=("residual", "plain", "skip", "inverted"), kernels=(3, 5), stem_kernels=(3, 4, 6), width_max=32
)
U8 = Dialect(activation="uint8-affine", reduced_range=True)
S8 = Dialect(activation="int8-affine", reduced_range=False, logits="quantised")
IMAGE = (3, 16, 16)


def real(shape: NetShape, dialect: Dialect | None) -> onnx.ModelProto:
    """As a build exports it; batch norms have been trained, or their biases would be nothing and left out."""
    net = checkpoint.build(shape, list("abcde"), IMAGE[0], seed=0).net.eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data.normal_()
    nn.init.normal_(net.classifier.bias)
    checkpoint.contiguous(net)
    x = torch.randn(8, *IMAGE, generator=torch.Generator().manual_seed(1))
    return hub.to_onnx(calibrated(net, dialect, x) if dialect else net, x[:2], INPUT, OUTPUT)


def kernels(graph: onnx.ModelProto, folder: Path) -> Counter[tuple[str, ...]]:
    """Every node of the optimised graph: its kernel, the shapes and types of its weights, how it steps."""
    path, optimised = folder / "model.onnx", folder / "optimised.onnx"
    onnx.save(graph, path)
    OnnxRuntimeSession(path, plain_onnxruntime(), optimised).close()
    made = onnx.load(optimised).graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.initializer}
    return Counter(
        (
            node.op_type,
            *(f"{held[name].dtype}{held[name].shape}" for name in node.input if name in held),
            *sorted(str(attribute) for attribute in node.attribute if attribute.name in ("strides", "pads", "group")),
        )
        for node in made.node
    )


@pytest.mark.parametrize(
    ("dialect", "seed"),
    [
        pytest.param(U8, 2, id="u8", marks=pytest.mark.slow),
        pytest.param(S8, 3, id="s8", marks=pytest.mark.nightly),
        pytest.param(None, 4, id="float", marks=pytest.mark.nightly),
    ],
)
def test_a_runtime_makes_of_it_what_it_makes_of_the_real_export(
    dialect: Dialect | None, seed: int, tmp_path: Path
) -> None:
    shapes = sample(MIXED, 12, seed)
    assert {kind for shape in shapes for kind in shape.kinds} == {"residual", "plain", "skip", "inverted"}
    for shape in [*shapes[:4], *sample(VitSpace(head_width=16, heads=(0.5,)), 1, seed)]:
        assert kernels(written(shape, IMAGE, 5, dialect), tmp_path) == kernels(real(shape, dialect), tmp_path), shape


@pytest.mark.parametrize("dialect", [U8, S8, None])
def test_its_answers_are_numbers_that_differ_between_images(dialect: Dialect | None, tmp_path: Path) -> None:
    """Neither saturated nor dead: kernels may be faster for zeros."""
    for number, shape in enumerate([*sample(MIXED, 3, seed=5), *sample(VitSpace(), 2, seed=5)]):
        onnx.save(written(shape, IMAGE, 5, dialect, seed=number), tmp_path / "model.onnx")
        session = OnnxRuntimeSession(tmp_path / "model.onnx", plain_onnxruntime())
        x = np.random.default_rng(0).normal(size=(4, *IMAGE)).astype(np.float32)
        (answers,) = session.run({INPUT: x})
        assert np.isfinite(answers).all()
        assert len({tuple(row) for row in answers.round(3).tolist()}) == 4
        session.close()
