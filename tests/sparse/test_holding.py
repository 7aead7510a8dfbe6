"""Zeros come when they are asked for and stay: after every step, a kill, an average of weights, and a reload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.engine.events import Progress, Silent
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.sparse.holding import Masks, kept_zeros, sparsifiable, zeros_at
from edgekd.sparse.plans import Sparsity
from edgekd.train.loop import Batch, fit
from edgekd.train.schedule import learning_rate
from edgekd.train.settings import Training

SHAPE = NetShape(stem_width=8, widths=((8, 8), (12, 16)), strides=(1, 2))
STEPS = 20
PLANS = {
    "2:4": Sparsity(nm="2:4", every=3),
    "1:4, SR-STE": Sparsity(nm="1:4", sr_ste=2e-4, begin=0.0, end=0.0),
    "4:8 at once, by Taylor": Sparsity(nm="4:8", schedule="one-shot", importance="taylor"),
    "75 %": Sparsity(unstructured=0.75, every=2),
    "75 % of all": Sparsity(unstructured=0.75, scope="global", every=2),
    "2:4 by activation": Sparsity(nm="2:4", importance="activation", every=3),
    "75 % by OBS": Sparsity(unstructured=0.75, importance="obs", every=5),
    "75 % of all by activation, exchanged": Sparsity(
        unstructured=0.75, scope="global", importance="activation", refine="dsnot", every=5
    ),
    "75 % by rewinding the rate": Sparsity(unstructured=0.75, scope="global", schedule="rewind"),
    "2:4 by rewinding weights": Sparsity(nm="2:4", schedule="rewind", rewinds="weights", rounds=2),
    "half, in blocks": Sparsity(unstructured=0.5, block=(4, 1), begin=0.0, end=0.5),
}


class KilledError(Exception):
    pass


def batches(generator: torch.Generator) -> Iterator[Batch]:
    for _ in range(5):
        x = torch.randn(16, 1, 8, 8, generator=generator)
        yield Batch(x, (x.mean((1, 2, 3)) > 0).long())


def trained(
    folder: Path, plan: Sparsity, watch: Callable[[Masks], None] = lambda _masks: None, **more: Any
) -> tuple[nn.Module, Masks]:
    folder.mkdir(exist_ok=True)
    net = checkpoint.build(SHAPE, ["0", "1"], 1, seed=0).net.train()
    masks = Masks(sparsifiable(net, plan)[0], plan, STEPS, net)

    def attach(optimizer: torch.optim.Optimizer) -> None:
        masks.attach(optimizer)
        optimizer.register_step_post_hook(lambda *_: watch(masks))

    def objective(batch: Batch) -> Tensor:
        loss = F.cross_entropy(net(batch.x), batch.labels)
        return torch.stack([0.4 * loss, 0.6 * loss])  # what labels say, what a teacher says

    settings = Training(epochs=4, batch=16, learning_rate=0.05, threads=1, **more)
    fit(
        nn.ModuleDict({"net": net, "masks": masks}), batches, 80, objective, settings, folder, Progress(Silent()),
        attach=attach,
    )  # fmt: skip
    return net, masks


def as_planned(weight: Tensor, kept: int, group: int) -> bool:
    return bool(((weight != 0).movedim(1, -1).reshape(-1, group).sum(1) <= kept).all())


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("momentum", [0.0, 0.05])
def test_masks_hold_after_every_step_and_are_what_the_plan_says_at_the_end(
    tmp_path: Path, name: str, momentum: float
) -> None:
    plan, seen = PLANS[name], list[float]()

    def watch(masks: Masks) -> None:
        for number, weight in enumerate(masks.weights.values()):
            assert not (weight * ~getattr(masks, f"mask_{number}")).any()
        seen.append(masks.told()["zeros_percent"] / 100)

    _, masks = trained(tmp_path / "run", plan, watch, distill_momentum=momentum)
    assert len(seen) == STEPS
    assert seen[-1] == pytest.approx(plan.share, abs=0.02)
    assert seen == sorted(seen)
    before = int(plan.begin * STEPS) - 1
    assert before < 0 or seen[before - 1] < 0.01
    assert all(as_planned(weight, *plan.group) for weight in masks.weights.values() if plan.nm)


@pytest.mark.parametrize("name", PLANS)
def test_a_killed_training_ends_with_the_same_zeros_and_weights(tmp_path: Path, name: str) -> None:
    whole, _ = trained(tmp_path / "whole", PLANS[name])

    def die(masks: Masks) -> None:
        if int(masks.step) == 13:
            raise KilledError

    with pytest.raises(KilledError):
        trained(tmp_path / "killed", PLANS[name], die, snapshot_s=1e-9)
    resumed, _ = trained(tmp_path / "killed", PLANS[name], snapshot_s=1e-9)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_an_average_of_weights_is_as_sparse_as_they_are(tmp_path: Path) -> None:
    _, masks = trained(tmp_path / "run", PLANS["2:4"], average=0.9)
    assert not all(as_planned(weight, 2, 4) for weight in masks.weights.values())  # of steps with other zeros
    masks.hold()  # as the float phase does
    assert all(as_planned(weight, 2, 4) for weight in masks.weights.values())


def test_what_was_sparse_stays_so_in_a_further_training_with_other_zeros_free(tmp_path: Path) -> None:
    """As in QAT: the net comes back from its folder, and its zeros are what is held."""
    net, _ = trained(tmp_path / "run", PLANS["75 %"])
    again = checkpoint.build(SHAPE, ["0", "1"], 1, seed=1).net.train()
    again.load_state_dict(net.state_dict())
    zeros = kept_zeros(again)
    optimizer = torch.optim.SGD(again.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    zeros.attach(optimizer)
    before = {name: weight.detach() == 0 for name, weight in again.named_parameters() if weight.ndim > 1}
    for batch in batches(torch.Generator().manual_seed(0)):
        optimizer.zero_grad()
        F.cross_entropy(again(batch.x), batch.labels).backward()
        optimizer.step()
        for name, weight in again.named_parameters():
            assert weight.ndim < 2 or torch.equal(weight.detach() == 0, before[name])


def test_weights_behind_the_mask_learn_on_with_sr_ste_and_may_come_back(tmp_path: Path) -> None:
    def chosen(plan: Sparsity, folder: Path) -> list[Tensor]:
        found = list[Tensor]()
        trained(
            folder, plan, lambda masks: found.append(torch.cat([(w != 0).flatten() for w in masks.weights.values()]))
        )
        return found

    moving = chosen(PLANS["1:4, SR-STE"], tmp_path / "moving")
    assert any((other & ~one).any() for one, other in pairwise(moving))
    fixed = chosen(Sparsity(nm="1:4", begin=0.0, end=0.0), tmp_path / "fixed")
    assert all(torch.equal(one, other) for one, other in pairwise(fixed))


def test_the_share_of_zeros_follows_the_published_cubic() -> None:
    plan = Sparsity(unstructured=0.8, begin=0.2, end=0.6)
    assert [zeros_at(step, 100, plan) for step in (0, 19, 20, 60, 99)] == [0, 0, 0, 0.8, 0.8]
    assert zeros_at(40, 100, plan) == pytest.approx(0.8 * (1 - 0.5**3))
    assert zeros_at(20, 100, plan.model_copy(update={"schedule": "one-shot"})) == 0.8


def test_layers_that_stay_dense_are_named_with_their_reason() -> None:
    shape = NetShape(stem_width=12, kinds=("inverted",), widths=((24, 16),), strides=(1,))
    net = checkpoint.build(shape, ["0", "1"], 3, seed=0).net
    taken, left = sparsifiable(net, Sparsity(nm="2:4"))
    assert all(weight.shape[1] % 4 == 0 for weight in taken.values())
    assert any("24 groups" in why for why in left.values())
    assert any("3 input channels are no multiple of 4" in why for why in left.values())
    assert not set(taken) & set(left)


def test_of_what_is_left_each_round_takes_as_much() -> None:
    plan = Sparsity(unstructured=0.875, schedule="rewind", rounds=3)
    shares = [zeros_at(step, 40, plan) for step in (0, 9, 10, 19, 20, 29, 30, 40)]
    assert shares == pytest.approx([0, 0, 0.5, 0.5, 0.75, 0.75, 0.875, 0.875])
    assert plan.complete == 0.75


def test_weights_come_back_and_the_rate_starts_again(tmp_path: Path) -> None:
    """Of 20 steps in two trainings: at the tenth every parameter is what it was at the fifth, where it is not zero."""
    plan = Sparsity(unstructured=0.5, schedule="rewind", rewinds="weights", rounds=1, begin=0.25)
    seen: dict[int, list[Tensor]] = {}

    def watch(masks: Masks) -> None:
        seen[int(masks.step)] = [parameter.detach().clone() for parameter in masks.rewound]

    net, masks = trained(tmp_path, plan, watch, cycles=2)
    assert len(seen[5]) == len(list(net.parameters()))
    for early, before, back in zip(seen[5], seen[9], seen[10], strict=True):
        assert not torch.equal(early, before)
        there = (back != 0) | (early == 0)
        assert torch.equal(back[there], early[there])
    assert masks.told()["zeros_percent"] == pytest.approx(50, abs=1)
    settings = Training(epochs=1, learning_rate=1.0, warmup=0.2, cycles=2, threads=1)
    rates = [learning_rate(step, 20, settings) for step in range(20)]
    assert rates[:10] == rates[10:]
    assert rates[:10] == [learning_rate(step, 10, settings.model_copy(update={"cycles": 1})) for step in range(10)]
    assert [max(rates[part]) for part in (slice(0, 10), slice(10, 20))] == [1.0, 1.0]
    uneven = [learning_rate(step, 11, settings) for step in range(11)]
    assert all(rate > 0 for rate in uneven)
