"""Features in the quantised phase: they are there in its first step, and gone from what is exported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.killed import Dying, KilledError
from torch import Tensor, nn

from edgekd.engine.events import Progress, Silent
from edgekd.hardware.dialect import Dialect
from edgekd.models import checkpoint
from edgekd.models.features import Featured
from edgekd.models.shape import NetShape
from edgekd.quant.qat import trained
from edgekd.quant.stages import Freezing
from edgekd.teacher.teaching import teaching, with_outputs
from edgekd.train.loop import Batch
from edgekd.train.losses.settings import HintLoss, KdLoss, LossSettings, RkdLoss
from edgekd.train.settings import Training

SHAPE = NetShape(stem_width=8, widths=((8, 8), (16, 16)), strides=(1, 2))
DIALECT = Dialect(activation="uint8-affine", reduced_range=False)
LOSSES: tuple[LossSettings, ...] = (
    KdLoss(name="kd"),
    HintLoss(name="hint", pairs=(("stage1", "stage1"), ("stage2", "stage2"))),
    RkdLoss(name="rkd", pairs=(("pooled", "pooled"),)),
)


def batches(generator: torch.Generator) -> Iterator[Batch]:
    for _ in range(2):
        yield Batch(torch.randn(8, 3, 8, 8, generator=generator), torch.randint(3, (8,), generator=generator))


@pytest.mark.slow
def test_every_feature_delivers_in_the_first_step_and_none_is_exported(tmp_path: Path) -> None:
    folder = tmp_path / "teacher"
    checkpoint.save(checkpoint.build(SHAPE, ["a", "b", "c"], 3, seed=1), folder)
    student = checkpoint.build(SHAPE, ["a", "b", "c"], 3, seed=0).net.train()
    checkpoint.contiguous(student)
    lessons = teaching(LOSSES, folder, student, (3, 8, 8), 3, steps=4)
    answers: list[tuple[Tensor, ...]] = []
    values: list[Tensor] = []

    def objective(net: nn.Module, batch: Batch) -> Tensor:
        answers.append(net(batch.x))
        values.append(lessons.loss(answers[-1], batch))
        return values[-1]

    before = [parameter.clone() for parameter in lessons.lesson.parameters()]
    (tmp_path / "scratch").mkdir()
    made = trained(
        with_outputs(student, lessons.names).train(), (3, 8, 8), DIALECT, batches, 16, objective,
        Training(epochs=2, batch=8, learning_rate=0.01, threads=1), Freezing(), tmp_path / "scratch",
        Progress(Silent()), lesson=lessons.lesson,
    )  # fmt: skip
    assert lessons.names == ("stage1", "stage2", "pooled")
    assert [tuple(x.shape) for x in answers[0]] == [(8, 3), (8, 8, 8, 8), (8, 16, 4, 4), (8, 16)]
    assert all(float(x.detach().abs().sum()) > 0 for x in answers[0])
    assert all(bool((a != b).any()) for a, b in zip(before, lessons.lesson.parameters(), strict=True))
    x = torch.randn(2, 3, 8, 8)
    assert isinstance(made(x), Tensor)
    assert made(x).shape == (2, 3)
    plain = trained(
        checkpoint_of_the_same(), (3, 8, 8), DIALECT, batches, 16,
        lambda net, batch: nn.functional.cross_entropy(net(batch.x), batch.labels),
        Training(epochs=1, batch=8, learning_rate=0.01, threads=1), Freezing(), _empty(tmp_path / "plain"),
        Progress(Silent()),
    )  # fmt: skip
    kinds = [[str(node.target) for node in graph.graph.nodes if node.op == "call_function"] for graph in (made, plain)]
    assert sorted(kinds[0]) == sorted(kinds[1])


def test_a_featured_net_and_its_plain_one_share_their_weights() -> None:
    net = checkpoint.build(SHAPE, ["a", "b"], 3, seed=0).net
    assert {id(p) for p in net.parameters()} == {id(p) for p in Featured(net, ["pooled"]).parameters()}


def checkpoint_of_the_same() -> nn.Module:
    net = checkpoint.build(SHAPE, ["a", "b", "c"], 3, seed=0).net.train()
    checkpoint.contiguous(net)
    return net


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def quantised(folder: Path, teacher: Path, listener: Silent) -> dict[str, Tensor]:
    """Six steps over three epochs: ranges and norms stand in the last."""
    student = checkpoint.build(SHAPE, ["a", "b", "c"], 3, seed=0).net.train()
    checkpoint.contiguous(student)
    lessons = teaching(LOSSES, teacher, student, (3, 8, 8), 3, steps=6)
    folder.mkdir(exist_ok=True)
    made = trained(
        with_outputs(student, lessons.names).train(), (3, 8, 8), DIALECT, batches, 16,
        lambda net, batch: lessons.loss(net(batch.x), batch),
        Training(epochs=3, batch=8, learning_rate=0.01, threads=1, average=0.9, snapshot_s=1e-9), Freezing(), folder,
        Progress(listener), lesson=lessons.lesson,
    )  # fmt: skip
    return dict(made.state_dict())


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(2, marks=pytest.mark.nightly),
        pytest.param(3, marks=pytest.mark.nightly),
        pytest.param(5, marks=pytest.mark.slow),
    ],
)
def test_a_quantised_phase_that_is_killed_ends_with_the_same_weights(tmp_path: Path, at: int) -> None:
    """After an epoch, within one, and after ranges and norms were frozen; to the bit, scales included."""
    teacher = tmp_path / "teacher"
    checkpoint.save(checkpoint.build(SHAPE, ["a", "b", "c"], 3, seed=1), teacher)
    whole = quantised(tmp_path / "whole", teacher, Silent())
    with pytest.raises(KilledError):
        quantised(tmp_path / "killed", teacher, Dying(at))
    again = quantised(tmp_path / "killed", teacher, Silent())
    assert whole.keys() == again.keys()
    for name, value in whole.items():
        assert torch.equal(value, again[name]), name
