"""Spaces hold what they say, every point of them is a net that can be built, and nothing of another's runs unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from edgekd.distill.start import transplant
from edgekd.errors import ConfigError
from edgekd.models import checkpoint
from edgekd.models.blocks import Encoder
from edgekd.models.residual_cnn import parameter_count
from edgekd.models.shape import NetShape, parameters, resnet
from edgekd.search.space import draw, every, points, sample
from edgekd.search.spaces import (
    AnySpace,
    CodeSpace,
    MobileCnnSpace,
    PlainCnnSpace,
    ResidualCnnSpace,
    TeacherBlocksSpace,
    VitSpace,
    for_teacher,
)

MIXED = ResidualCnnSpace(
    kinds=("residual", "plain", "skip", "inverted"), kernels=(3, 5), stem_kernels=(3, 4, 6), width_max=32
)
SPACES: tuple[Any, ...] = (
    ResidualCnnSpace(width_max=32), PlainCnnSpace(width_max=32), MobileCnnSpace(width_max=32), MIXED,
    VitSpace(width_max=64), VitSpace(kinds=("residual", "encoder"), head_width=16, width_step=16),
    VitSpace(width_max=64, head_width=8, heads=(0.25, 0.5, 1.0)),
    TeacherBlocksSpace(teacher=resnet(20)),
)  # fmt: skip


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_every_point_is_a_net_with_the_parameters_that_its_shape_says(space: Any, seed: int) -> None:
    shape = space.shape(draw(space, np.random.default_rng(seed)))
    net = checkpoint.build(shape, ["a", "b"], 3, seed=0).eval()
    assert net(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 2)
    assert parameter_count(net) == parameters(shape, 3, 2)
    assert net.config.shape == shape


def test_a_net_of_any_kind_comes_back_from_its_folder_with_its_answers(tmp_path: Path) -> None:
    for number, shape in enumerate([*sample(MIXED, 4, seed=3), *sample(VitSpace(head_width=16), 1, seed=3)]):
        net = checkpoint.build(shape, ["a", "b"], 3, seed=number).eval()
        checkpoint.save(net, tmp_path / str(number))
        x = torch.randn(2, 3, 16, 16)
        torch.testing.assert_close(checkpoint.net_of(tmp_path / str(number))(x), net.net(x))


def test_a_stage_of_skip_blocks_begins_with_a_plain_one() -> None:
    space = PlainCnnSpace(kinds=("skip",), stages=(2,), blocks=(3,), stem_widths=(16,), width_min=16, width_max=16)
    (shape,) = {s.model_copy(update={"stem_kernel": 3, "stem_stride": 1}) for s in every(space)}
    assert shape.kinds == ("skip", "skip", "skip", "plain", "skip", "skip")


def test_encoders_begin_with_a_convolution_where_the_width_or_the_size_changes() -> None:
    space = VitSpace(stem_widths=(32,), stages=(2,), blocks=(1,), expand=(2,), width_max=64)
    found = {shape.widths: shape.kinds for shape in every(space)}
    assert found[(64, 32), (32, 32), (64, 32)] == ("encoder", "plain", "encoder")
    assert found[(64, 32), (64, 64), (128, 64)] == ("encoder", "plain", "encoder")
    assert found[(64, 64), (128, 64), (64, 64), (128, 64)] == ("plain", "encoder", "plain", "encoder")


def test_an_encoder_is_attention_over_all_pixels() -> None:
    """Of two heads, each transcribed; without queries each pixel is the mean of all values."""
    shape = NetShape(stem_width=12, widths=((16, 12),), strides=(1,), kinds=("encoder",), head_width=4, heads=(2,))
    block = Encoder(shape.blocks[0]).eval()
    x = torch.randn(2, 12, 3, 5)
    own = block.attention(x)
    by_head = []
    for first in (0, 4):
        rows = slice(first, first + 4)
        query, key, value = (layer(x)[:, rows].flatten(2) for layer in (block.query, block.key, block.value))
        share = torch.softmax(torch.einsum("bcq,bck->bqk", query, key) / 2, dim=2)
        by_head.append(torch.einsum("bqk,bck->bcq", share, value).reshape(2, 4, 3, 5))
    torch.testing.assert_close(own, torch.cat(by_head, 1))
    for weight in block.query.parameters():
        torch.nn.init.zeros_(weight)
    mean = block.value(x).mean((2, 3), keepdim=True).expand(2, 8, 3, 5)
    torch.testing.assert_close(block.attention(x), mean)


def test_heads_are_named_layer_by_layer_where_they_are_not_as_many_as_the_width_has_room_for() -> None:
    space = VitSpace(stem_widths=(32,), stages=(2,), blocks=(1,), expand=(2,), head_width=8, heads=(0.5, 1.0))
    found = {(shape.widths, shape.heads) for shape in every(space)}
    narrow = ((64, 32), (64, 64), (128, 64))
    assert {heads for widths, heads in found if widths == narrow} == {(), (2, 0, 4), (2, 0, 8), (4, 0, 4)}
    assert [block.attends for block in NetShape(
        stem_width=32, widths=narrow, strides=(1, 2, 1), kinds=("encoder", "plain", "encoder"), heads=(2, 0, 4),
        head_width=8,
    ).blocks] == [16, 0, 32]  # fmt: skip
    with pytest.raises(ValidationError, match=r"heads \(0.0,\): shares of the heads that a width has room for"):
        VitSpace(heads=(0.0,))


def test_patches_hold_every_pixel() -> None:
    for kernel, stride in ((4, 4), (6, 4), (4, 2), (6, 2), (3, 2)):
        shape = NetShape(stem_width=8, stem_kernel=kernel, stem_stride=stride, widths=(), strides=())
        x = torch.randn(1, 3, 32, 32, requires_grad=True)
        checkpoint.build(shape, ["a", "b"], 3, seed=0).net.features(x).sum().backward()
        assert x.grad is not None
        assert (x.grad.abs().sum((0, 1)) > 0).all(), (kernel, stride)


def test_nets_without_encoders_are_the_same_in_spaces_of_other_heads() -> None:
    point = draw(ResidualCnnSpace(), np.random.default_rng(0))
    assert ResidualCnnSpace().shape(point) == ResidualCnnSpace(head_width=16).shape(point)


def test_whole_heads_are_asked_for() -> None:
    with pytest.raises(ValidationError, match=r"width_min 16 and width_step 32 are no multiples of head_width 32"):
        VitSpace(width_min=16)


def test_an_even_kernel_is_only_had_with_a_stride() -> None:
    assert ResidualCnnSpace(stem_kernels=(3, 4), stem_strides=(1, 2)).stems == ("3/1", "3/2", "4/2")
    with pytest.raises(ValidationError, match=r"no stem is left of kernels \(2,\) and strides \(1,\).*add 3"):
        ResidualCnnSpace(stem_kernels=(2,), stem_strides=(1,))


def test_all_of_a_small_space_are_its_different_shapes() -> None:
    """The second stage's choices mean nothing where there is one stage."""
    space = ResidualCnnSpace(
        stages=(1, 2), stem_widths=(8,), stem_strides=(1,), blocks=(1,), inner=(1.0,), width_max=24, width_step=8
    )
    shapes = list(every(space))
    assert points(space) == 2 * 2 * 2
    assert len(shapes) == len(set(shapes)) == 2 + 3  # 16, 24; and 16-16, 16-24, 24-24


def test_parts_of_the_teacher_start_from_it() -> None:
    teacher = checkpoint.build(resnet(20), ["a", "b"], 3, seed=0).net
    for shape in sample(for_teacher(TeacherBlocksSpace(), resnet(20)), 6, seed=1):
        taken = transplant(checkpoint.build(shape, ["a", "b"], 3, seed=1).net, teacher)
        assert None not in taken.blocks


def test_parts_of_a_teacher_that_has_no_such_blocks_are_refused() -> None:
    with pytest.raises(ConfigError, match="teacher-blocks: the teacher is no net of edgekd's residual blocks"):
        TeacherBlocksSpace().axes()


def test_a_space_of_the_persons_own(tmp_path: Path) -> None:
    (tmp_path / "space.py").write_text(
        "def axes():\n    return {'width': [8, 16]}\n"
        "def shape(point):\n"
        "    return {'stem_width': point['width'], 'widths': [[8, 8]], 'strides': [1]}\n",
        "utf-8",
    )
    space = CodeSpace(path=str(tmp_path / "space.py")).pinned()
    assert {shape.stem_width for shape in every(space)} == {8, 16}
    (tmp_path / "space.py").write_text("def axes():\n    return {}\n", "utf-8")
    with pytest.raises(ConfigError, match="changed since it was allowed to run"):
        space.axes()


def test_spaces_are_read_by_name() -> None:
    reader: TypeAdapter[AnySpace] = TypeAdapter(AnySpace)
    for space in SPACES:
        assert reader.validate_json(space.model_dump_json()) == space


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"kinds": ("skip",)}, r"block 1 is skip, which adds its input, of 8 channels, to 16"),
        ({"kinds": ("plain",), "widths": ((8, 16),)}, "block 1 is plain, one convolution, but widths say 8 and 16"),
        ({"kinds": ("encoder",)}, r"block 1 is encoder, which adds its input, of 8 channels, to 16"),
        (
            {"kinds": ("encoder",), "stem_width": 16},
            r"block 1 is an encoder of 16 channels, no multiple of head_width 32",
        ),
        ({"heads": (2,)}, r"block 1 is residual of 2 heads; encoders have one at least, others none"),
        (
            {"kinds": ("encoder",), "stem_width": 16, "heads": (0,)},
            r"block 1 is encoder of 0 heads; encoders have one at least",
        ),
        ({"heads": (0, 0)}, r"1 blocks in widths but 2 heads; one a block, or none"),
        ({"kernels": (3, 3)}, r"1 blocks in widths but 2 kernels; one a block, or none"),
    ],
)
def test_shapes_that_cannot_be_built_are_refused(more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        NetShape.model_validate({"stem_width": 8, "widths": ((16, 16),), "strides": (1,)} | more)


def test_a_first_stage_may_leave_out_every_other_pixel_of_a_stem_that_kept_them() -> None:
    space = ResidualCnnSpace(
        stem_strides=(1,), first_strides=(1, 2), stages=(2,), blocks=(2,), kinds=("residual", "skip")
    )
    assert space.axes()["first_stride"] == (1, 2)
    assert "first_stride" not in ResidualCnnSpace().axes()  # what was drawn before is drawn again
    generator = np.random.default_rng(0)
    shapes = [space.shape(draw(space, generator)) for _ in range(40)]
    assert {shape.strides for shape in shapes} == {(1, 1, 2, 1), (2, 1, 2, 1)}
    assert ResidualCnnSpace(first_strides=(2,)).shape(draw(ResidualCnnSpace(), generator)).strides[0] == 2
