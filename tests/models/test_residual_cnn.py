"""Students are ordinary Hugging Face folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from edgekd.models import checkpoint
from edgekd.models.blocks import Projection
from edgekd.models.residual_cnn import mac_count, parameter_count
from edgekd.models.shape import NetShape

SHAPE = NetShape(stem_width=8, stem_stride=2, widths=((8, 16), (24, 16)), strides=(2, 1))


def net() -> torch.nn.Module:
    return checkpoint.build(SHAPE, ["a", "b", "c"], 1, seed=0).net.eval()


def test_parameters_and_macs_are_those_counted_by_hand() -> None:
    convs = [  # width in, width out, kernel, outputs per side for a 16x16 image
        (1, 8, 3, 8), (8, 8, 3, 4), (8, 16, 3, 4), (8, 16, 1, 4), (16, 24, 3, 4), (24, 16, 3, 4),
    ]  # fmt: skip
    weights = sum(a * b * k * k for a, b, k, _ in convs) + 16 * 3 + 3
    norms = 2 * sum(b for _, b, _, _ in convs)
    assert parameter_count(net()) == weights + norms
    assert mac_count(net(), (1, 16, 16)) == sum(a * b * k * k * s * s for a, b, k, s in convs) + 16 * 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("edgekd", "transformers", marks=pytest.mark.slow),
        pytest.param("transformers.models.auto.modeling_auto", "edgekd", marks=pytest.mark.slow),
        pytest.param("edgekd.models.residual_cnn", "transformers", marks=pytest.mark.slow),
    ],
)
def test_a_saved_student_loads_through_the_auto_class_in_any_import_order(
    tmp_path: Path, first: str, second: str
) -> None:
    """In a fresh interpreter: nothing of edgekd but its top level is imported by the person."""
    model = checkpoint.build(SHAPE, ["a", "b", "c"], 1, seed=0).eval()
    checkpoint.save(model, tmp_path)
    x = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(checkpoint.net_of(tmp_path)(x), model.net(x))
    code = (
        f"import {first}, {second}; from transformers import AutoModelForImageClassification as Auto; "
        f"m = Auto.from_pretrained({str(tmp_path)!r}); c = m.config; "
        "print(type(m).__name__, c.id2label[2], c.widths)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[0] == "ResidualCnnForImageClassification c [[8, 16], [24, 16]]", done.stderr


def test_the_same_seed_gives_the_same_weights() -> None:
    one, two = net().state_dict(), net().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_block_without_a_stride_is_refused() -> None:
    with pytest.raises(ValidationError, match="2 blocks in widths but 1 strides"):
        NetShape(stem_width=8, widths=((8, 8), (8, 8)), strides=(1,))


@pytest.mark.parametrize("channels", [3, 5, 7, 8])
def test_a_projection_of_few_channels_trains_and_is_the_plain_convolution(channels: int) -> None:
    """In a process of its own this corrupted memory: see Projection."""
    projection = Projection(channels, 8, 2)
    checkpoint.channels_last(projection)
    x = torch.randn(16, channels, 14, 14).contiguous(memory_format=torch.channels_last).requires_grad_()
    trained = projection.train()(x)
    trained.square().mean().backward()
    assert projection.weight.grad is not None
    torch.testing.assert_close(trained, projection.eval()(x))
    graph = torch.export.export(projection.train(), (torch.zeros(2, channels, 14, 14),)).graph
    assert [str(node.target) for node in graph.nodes if node.op == "call_function"] == ["aten.conv2d.default"]
