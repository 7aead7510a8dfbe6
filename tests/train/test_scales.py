"""Batch norms' scales are pulled to zero, ever less towards the end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.engine.events import Progress, Silent
from edgekd.train.loop import Batch, fit
from edgekd.train.norms import pull, scales_of
from edgekd.train.settings import Training


@pytest.mark.parametrize(("done", "share"), [(0.0, 1.0), (0.5, 1.0), (0.75, 0.5), (1.0, 0.0)])
def test_the_pull_is_the_gradient_of_the_scales_sizes_and_falls_after_the_half(done: float, share: float) -> None:
    scale = torch.tensor([2.0, -0.5, 0.0], requires_grad=True)
    (scale * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    pull([scale], 0.1, done)
    torch.testing.assert_close(scale.grad, torch.tensor([1.0, 2.0, 3.0]) + 0.1 * share * torch.tensor([1.0, -1.0, 0.0]))


def test_scales_of_what_the_labels_do_not_need_end_near_zero(tmp_path: Path) -> None:
    """Of two channels one says the class, the other nothing."""
    x = torch.randn(256, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    labels = (x[:, 0, 0, 0] > 0).long()

    def trained(strength: float) -> Tensor:
        torch.manual_seed(0)
        net = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
        settings = Training(epochs=30, batch=64, learning_rate=0.1, weight_decay=0, threads=1, looks=0,
                            scale_l1=strength)  # fmt: skip
        fit(net, lambda _generator: iter([Batch(a, b) for a, b in zip(x.split(64), labels.split(64), strict=True)]),
            256, lambda batch: F.cross_entropy(net(batch.x), batch.labels), settings, tmp_path / f"{strength}",
            Progress(Silent()))  # fmt: skip
        (scales,) = scales_of(net)
        return scales.detach().abs()

    for strength in (0.0, 0.02):
        (tmp_path / f"{strength}").mkdir()
    free, pulled = trained(0.0), trained(0.02)
    assert pulled[1] < 0.02 < free[1]
    assert pulled[0] > 0.5
