"""Training resumes to the bit, and says what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.engine.events import Progress, Silent
from edgekd.errors import ConfigError
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.train import snapshots
from edgekd.train.loop import Batch, fit
from edgekd.train.schedule import learning_rate
from edgekd.train.settings import Training
from edgekd.train.snapshots import Place

SETTINGS = Training(epochs=4, batch=16, learning_rate=0.05, threads=1)
SHAPE = NetShape(stem_width=8, widths=((8, 8), (8, 16)), strides=(1, 2))


def batches(generator: torch.Generator) -> Iterator[Batch]:
    for _ in range(5):
        x = torch.randn(16, 1, 8, 8, generator=generator)
        yield Batch(x, (x.mean((1, 2, 3)) > 0).long())


class KilledError(Exception):
    pass


def trained(folder: Path, *, die_in_epoch: int | None = None, seen: list[int] | None = None) -> dict[str, Tensor]:
    net = checkpoint.build(SHAPE, ["0", "1"], 1, seed=0).net.train()

    def before_epoch(epoch: int) -> None:
        if epoch == die_in_epoch:
            raise KilledError
        if seen is not None:
            seen.append(epoch)

    def objective(batch: Batch) -> Tensor:
        return F.cross_entropy(net(batch.x), batch.labels)

    fit(net, batches, 80, objective, SETTINGS, folder, Progress(Silent()), before_epoch=before_epoch)
    return net.state_dict()


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path, epoch: int) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = trained(tmp_path / "whole")
    with pytest.raises(KilledError):
        trained(tmp_path / "killed", die_in_epoch=epoch)
    resumed = trained(tmp_path / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_resumed_run_trains_only_what_is_left(tmp_path: Path) -> None:
    seen: list[int] = []
    with pytest.raises(KilledError):
        trained(tmp_path, die_in_epoch=3, seen=seen)
    assert seen == [0, 1, 2]
    trained(tmp_path, seen=seen)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_snapshot_that_is_not_what_was_written_is_not_trusted(tmp_path: Path, damage: str) -> None:
    trained(tmp_path)
    (path,) = tmp_path.glob("snapshot-*")
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw[:100] if damage == "cut" else raw)
    seen: list[int] = []
    trained(tmp_path, seen=seen)
    assert seen == [0, 1, 2, 3]


def test_a_snapshot_of_another_net_is_left_alone(tmp_path: Path) -> None:
    trained(tmp_path)
    net = nn.Linear(2, 2)
    assert snapshots.restore(tmp_path, net, torch.optim.SGD(net.parameters(), lr=0.1)) == Place()


def test_a_gradient_that_explodes_under_a_finite_loss_is_never_kept(tmp_path: Path) -> None:
    net = nn.Linear(64, 2)

    def objective(batch: Batch) -> Tensor:
        return torch.as_tensor((net(batch.x.flatten(1)).sum() * 0).sqrt())  # 0, with an infinite slope

    with pytest.raises(ConfigError, match=r"gradient became (nan|inf) in epoch 1, step 1; .*; no epoch was finished"):
        fit(net, batches, 80, objective, SETTINGS, tmp_path, Progress(Silent()))
    assert list(tmp_path.glob("snapshot-*")) == []
    assert all(bool(p.isfinite().all()) for p in net.parameters())


def test_a_loss_that_is_no_number_names_the_step_and_the_way_out(tmp_path: Path) -> None:
    net = nn.Linear(64, 2)

    def objective(batch: Batch) -> Tensor:
        return torch.as_tensor(net(batch.x.flatten(1)).sum() * float("nan"))

    with pytest.raises(
        ConfigError,
        match=r"loss became nan in epoch 1, step 1; lower learning_rate \(it peaks at 0.05\); no epoch",
    ):
        fit(net, batches, 80, objective, SETTINGS, tmp_path, Progress(Silent()))


def test_the_rate_climbs_to_its_peak_and_ends_near_zero() -> None:
    rates = [learning_rate(step, 100, SETTINGS) for step in range(100)]
    peak = max(range(100), key=rates.__getitem__)
    assert peak == 15
    assert rates[peak] == pytest.approx(0.05)
    assert rates[0] == pytest.approx(0.05 / 16)
    assert 0 < rates[-1] < 0.0001
    assert all(a < b for a, b in pairwise(rates[:16]))
    assert all(a > b for a, b in pairwise(rates[15:]))


def test_weight_decay_spares_biases_and_norms(tmp_path: Path) -> None:
    """With no gradient at all, only what decays moves."""
    net = nn.Sequential(nn.Linear(64, 4), nn.BatchNorm1d(4))
    before = {name: value.clone() for name, value in net.state_dict().items()}

    def objective(batch: Batch) -> Tensor:
        return torch.as_tensor(net(batch.x.flatten(1)).sum() * 0)

    fit(net, batches, 80, objective, SETTINGS, tmp_path, Progress(Silent()))
    assert not torch.equal(net.state_dict()["0.weight"], before["0.weight"])
    for name in ("0.bias", "1.weight", "1.bias"):
        assert torch.equal(net.state_dict()[name], before[name])
