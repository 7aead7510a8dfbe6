"""A student that starts from its teacher: the same function where all of it is taken, its strongest part otherwise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from edgekd.distill.start import stages, transplant
from edgekd.errors import ConfigError
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape, resnet

LABELS = ["a", "b", "c"]
X = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TEACHER = NetShape(
    stem_width=8,
    widths=((8, 8), (6, 8), (8, 8), (16, 16), (12, 16), (16, 16)),
    strides=(1, 1, 1, 2, 1, 1),
)


def net(shape: NetShape, seed: int = 0) -> Any:  # a ResidualCnn, whose layers are looked into
    """With batch norms that do something."""
    made = checkpoint.build(shape, LABELS, 3, seed).net
    generator = torch.Generator().manual_seed(seed)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for value, low in (
                (module.weight, 0.5),
                (module.bias, -0.5),
                (module.running_mean, -0.5),
                (module.running_var, 0.5),
            ):
                assert isinstance(value, Tensor)
                with torch.no_grad():
                    value.copy_(low + torch.rand(value.shape, generator=generator))
    return made.eval()


def test_a_student_of_the_teachers_shape_is_the_teacher() -> None:
    teacher, student = net(TEACHER), net(TEACHER, 1)
    taken = transplant(student, teacher)
    assert torch.equal(student.eval()(X), teacher(X))
    assert taken.blocks == (0, 1, 2, 3, 4, 5)
    assert taken.classifier
    assert not taken.narrower


def test_fewer_blocks_are_the_first_the_last_and_those_evenly_between() -> None:
    teacher = net(resnet(56))
    student = net(resnet(20), 1)
    taken = transplant(student, teacher)
    assert taken.blocks == (0, 4, 8, 9, 13, 17, 18, 22, 26)
    assert torch.equal(student.blocks[1].conv1.weight, teacher.blocks[4].conv1.weight)
    assert taken.sentence == "the student starts from the teacher's blocks 1, 5, 9, 10, 14, 18, 19, 23, 27 of 27"


def test_a_narrower_student_takes_the_channels_with_the_largest_weights() -> None:
    """Where the others are zero anyway, nothing is lost: the narrow net answers what the wide one does."""
    teacher = net(TEACHER)
    dead = [1, 4]
    with torch.no_grad():
        for block in teacher.blocks[:3]:
            for layer in (block.conv2.weight, block.bn2.weight, block.bn2.bias, block.bn2.running_mean):
                layer[dead] = 0
        for layer in (teacher.stem[0].weight, teacher.stem[1].weight, teacher.stem[1].bias):
            layer[dead] = 0
    narrow = NetShape(stem_width=6, widths=((8, 6), (6, 6), (8, 6), *TEACHER.widths[3:]), strides=TEACHER.strides)
    student = net(narrow, 1)
    taken = transplant(student, teacher)
    assert taken.narrower
    torch.testing.assert_close(student.eval()(X), teacher(X), atol=1e-5, rtol=1e-5)


def test_a_projection_passes_on_what_the_teachers_shortcut_did() -> None:
    """A stem that is narrower than its stage needs one where the teacher has none."""
    teacher = net(NetShape(stem_width=8, widths=((8, 8),), strides=(1,)))
    student = net(NetShape(stem_width=4, widths=((8, 8),), strides=(1,)), 1)
    assert transplant(student, teacher).blocks == (0,)
    projection: Tensor = student.blocks[0].shortcut[0].weight
    assert projection.sum((1, 2, 3)).sort().values.tolist() == [0] * 4 + [1] * 4


def test_wider_stages_stay_fresh_and_are_told() -> None:
    teacher = net(TEACHER)
    student = net(NetShape(stem_width=8, widths=((8, 8), (8, 24)), strides=(1, 2)), 1)
    before = student.blocks[1].conv1.weight.clone()
    taken = transplant(student, teacher)
    assert taken.blocks == (0, None)
    assert not taken.classifier
    assert torch.equal(student.blocks[1].conv1.weight, before)
    assert "blocks 1, fresh of 6" in taken.sentence


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (
            NetShape(stem_width=16, widths=((8, 8),), strides=(1,)),
            r"stem \(16 channels, kernel 3, stride 1\) is no part of the",
        ),
        (
            NetShape(stem_width=8, stem_stride=2, widths=((8, 8),), strides=(1,)),
            r"stem \(8 channels, kernel 3, stride 2\)",
        ),
        (NetShape(stem_width=8, widths=((64, 64),), strides=(1,)), r"none of its blocks fits the student's"),
    ],
)
def test_a_student_that_nothing_fits_is_refused(shape: NetShape, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        transplant(net(shape), net(TEACHER))


def test_a_stage_ends_where_the_next_block_has_a_stride() -> None:
    assert stages(list(net(TEACHER).blocks)) == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("depth", [7, 10, 2])
def test_a_depth_that_no_such_resnet_has_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=rf"resnet{depth}: has 6 n \+ 2 layers"):
        resnet(depth)
