"""An assistant stands between a teacher and a student that is far from it, and is a part of the teacher."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.advice import FAR
from edgekd.assistant import between, part
from edgekd.distill.stages import ASSISTANT, ChooseAssistant
from edgekd.distilling import distil
from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.store import Artifact, Store
from edgekd.models import checkpoint
from edgekd.models.residual_cnn import parameter_count
from edgekd.models.shape import NetShape, parameters, resnet
from edgekd.pipeline import load_pipeline

TINY = NetShape(stem_width=8, widths=((8, 8), (16, 16)), strides=(1, 2))


@given(st.sampled_from([8, 14, 20]), st.integers(2, 20), st.integers(1, 3))
def test_parameters_are_those_of_the_net(depth: int, classes: int, channels: int) -> None:
    labels = [str(number) for number in range(classes)]
    net = checkpoint.build(resnet(depth), labels, channels, 0)
    assert parameters(resnet(depth), channels, classes) == parameter_count(net)


def test_candidates_lie_between_and_are_parts_of_the_teacher() -> None:
    teacher = resnet(56)
    found = between(teacher, TINY)
    assert 1 <= len(found) <= 4
    sizes = [parameters(shape) for shape in found]
    assert all(a > b for a, b in pairwise(sizes))
    assert parameters(TINY) < min(sizes)
    assert max(sizes) < parameters(teacher)
    for shape in found:
        assert [s for s in shape.strides if s > 1] == [2, 2]
        assert all(a <= 64 and b <= 64 for a, b in shape.widths)


def test_parts_of_an_encoder_have_whole_heads() -> None:
    teacher = NetShape(stem_width=160, stem_stride=4, stem_kernel=4, widths=((320, 160),) * 2, strides=(1, 1),
                       kinds=("encoder",) * 2)  # fmt: skip
    for share in (0.2, 0.5, 0.75):
        smaller = NetShape.model_validate(part(teacher, 0.5, share).model_dump())
        assert smaller.widths[0][1] % 32 == 0


def test_a_student_that_is_near_needs_none() -> None:
    assert parameters(resnet(56)) < FAR * parameters(resnet(20))
    assert between(resnet(56), resnet(20)) == ()


def test_a_part_keeps_every_stage() -> None:
    half = part(resnet(56), 0.34, 0.5)
    assert half.widths == ((8, 8),) * 4 + ((16, 16),) * 4 + ((32, 32),) * 4
    assert half.strides == (1, 1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1)


def judged(folder: Path, right: int) -> Artifact:
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"right": right, "n": 1000}), "utf-8")
    return Artifact("predictions", f"{right}", folder)


@pytest.mark.parametrize(("right", "chosen"), [((900, 895, 880), 1), ((900, 870, 860), 0), ((900, 880, 899), 2)])
def test_the_smallest_within_a_point_of_the_best_is_taken(
    right: tuple[int, ...], chosen: int, tmp_path: Path, store: Store
) -> None:
    found = between(resnet(56), TINY)[:3]
    inputs = {f"val.{number}": judged(tmp_path / str(number), value) for number, value in enumerate(right)}
    decision = Builder(store, Silent()).call(ASSISTANT, ChooseAssistant(candidates=found), inputs)
    assert NetShape.model_validate_json(decision.file("shape.json").read_text()) == found[chosen]


@pytest.mark.slow
def test_it_is_tried_for_a_share_of_the_epochs_and_then_teaches(
    micro_settings: list[str], workspace: Path, tmp_path: Path
) -> None:
    class Ear(Silent):
        ran: list[str] = []

        def running(self, stage: str, at: str) -> None:
            self.ran.append(f"{stage} {at}".strip())

    pipeline = load_pipeline("digits", [*micro_settings, "distill.assistant=auto"])
    student = NetShape(stem_width=4, stem_stride=2, widths=((4, 4), (8, 8)), strides=(1, 2))
    count = len(between(pipeline.teacher.shape, student))
    assert count >= 1
    distil(pipeline, student, out=tmp_path / "student", workspace=workspace, listener=Ear())
    trained = [line for line in Ear.ran if line.startswith("distill.float")]
    tries = [f"distill.float assistant {number + 1} of {count}" for number in range(count)]
    assert trained == [*tries, "distill.float assistant", "distill.float"]


def test_parts_of_a_teacher_keep_the_kinds_of_its_blocks() -> None:
    teacher = NetShape(
        stem_width=16, stem_stride=2, stem_kernel=4, widths=((32, 32), (32, 32), (64, 64), (64, 64)),
        strides=(1, 1, 2, 1), kinds=("plain", "skip", "plain", "skip"), kernels=(3, 5, 3, 5),
    )  # fmt: skip
    half = part(teacher, 0.5, 0.5)
    assert (half.kinds, half.kernels, half.stem_kernel) == (("plain", "plain"), (3, 3), 4)
    assert half.widths == ((16, 16), (32, 32))
