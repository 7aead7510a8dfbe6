"""The moving average of weights: of weights alone, and kept over an interruption."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from edgekd.train import snapshots
from edgekd.train.average import Average
from edgekd.train.snapshots import Place


def test_it_is_the_mean_of_what_the_weights_were_and_leaves_statistics_alone() -> None:
    layer, norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
    average = Average(nn.Sequential(layer, norm), 0.5)
    seen = [layer.weight.detach().clone()]
    for step in range(3):
        with torch.no_grad():
            layer.weight += step + 1
        average.update()
        seen.append(layer.weight.detach().clone())
    expected = seen[0]
    for number, value in enumerate(seen[1:], 1):
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * value
    norm(torch.randn(8, 2))
    assert norm.running_mean is not None
    statistics = norm.running_mean.clone()
    average.take()
    torch.testing.assert_close(layer.weight.detach(), expected)
    assert torch.equal(norm.running_mean, statistics)


def test_a_snapshot_brings_it_back(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    average = Average(net, 0.9)
    with torch.no_grad():
        net.weight += 1
    average.update()
    snapshots.save(tmp_path, Place(3), net, optimizer, average)
    again = Average(nn.Linear(2, 2), 0.9)
    assert snapshots.restore(tmp_path, net, optimizer, again) == Place(3)
    assert again.updates == 1
    assert all(torch.equal(a, b) for a, b in zip(again.shadow, average.shadow, strict=True))
