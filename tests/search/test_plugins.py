"""Every score against its definition, written out; none leaves a trace in the net that another one sees."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekd.models.shape import NetShape
from edgekd.search.scores import activations, gradients
from edgekd.search.scores.diswot import look
from edgekd.search.scores.plugins import PLUGINS, Candidate, Shown
from edgekd.search.stages import ScoreName

X = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 5
SHAPE = NetShape(stem_width=4, widths=((4, 4), (4, 8)), strides=(1, 2))
PLAIN = Shown(X, Y, list("abcde"))
TEACHER = Candidate(NetShape(stem_width=4, widths=((8, 8),), strides=(2,)), 9, PLAIN).net()
SHOWN = Shown(X, Y, list("abcde"), look(TEACHER, X, Y), TEACHER.eval().features(X).detach())


def candidate(shape: NetShape = SHAPE, seed: int = 0) -> Candidate:
    return Candidate(shape, seed, SHOWN)


def test_every_score_that_a_pipeline_may_name_is_here() -> None:
    assert set(PLUGINS) == set(get_args(ScoreName))


def test_a_score_is_the_same_whatever_was_asked_before() -> None:
    """Batch norms move when a net looks at images; each score gets a net that has not."""
    alone = {name: plugin(candidate()) for name, plugin in PLUGINS.items()}
    assert None not in alone.values()
    busy = candidate()
    for order in (list(PLUGINS), list(PLUGINS)[::-1]):
        assert {name: PLUGINS[name](busy) for name in order} == alone


@pytest.mark.parametrize("name", [name for name in PLUGINS if name not in ("params", "macs")])
def test_a_score_depends_on_its_initialisation_where_it_looks_at_weights(name: str) -> None:
    assert PLUGINS[name](candidate(seed=1)) != PLUGINS[name](candidate(seed=2))


def test_snip_and_the_norm_of_gradients_written_out() -> None:
    net = candidate().net().train()
    F.cross_entropy(net(X), Y).backward()
    layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    sensitivity = sum(float((m.weight * m.weight.grad).abs().sum()) for m in layers if m.weight.grad is not None)
    norms = sum(math.sqrt(float(m.weight.grad.square().sum())) for m in layers if m.weight.grad is not None)
    assert PLUGINS["snip"](candidate()) == pytest.approx(math.log(sensitivity), rel=1e-5)
    assert PLUGINS["grad-norm"](candidate()) == pytest.approx(norms, rel=1e-5)


def test_zico_written_out() -> None:
    batches = [[(torch.ones(2), torch.tensor(grad))] for grad in ([1.0, -2.0], [3.0, 2.0])]
    # |g| of the first weight: 1 and 3, mean 2, deviation 1; the second one's do not vary and count nothing
    assert gradients.zico(batches) == pytest.approx(math.log(2 / 1))
    two = [[*batch, (torch.ones(1), torch.tensor([size]))] for batch, size in zip(batches, (1.0, 2.0), strict=True)]
    assert gradients.zico(two) == pytest.approx(math.log(2) + math.log(1.5 / 0.5))


def test_nwot_written_out() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
    codes = (net.train()(X).flatten(1) > 0).int().numpy()
    kernel = np.array([[(a == b).sum() for b in codes] for a in codes], float)
    assert activations.nwot(net, X) == pytest.approx(np.linalg.slogdet(kernel)[1], rel=1e-6)


def test_zen_sees_depth_and_width_and_neither_the_nets_own_weights_nor_its_images() -> None:
    def zen(shape: NetShape, seed: int = 0) -> float:
        return activations.zen(candidate(shape, seed).net(), X, torch.Generator().manual_seed(3))

    deeper = NetShape(stem_width=4, widths=((4, 4), (4, 4), (4, 8)), strides=(1, 1, 2))
    wider = NetShape(stem_width=4, widths=((16, 4), (16, 8)), strides=(1, 2))
    assert zen(SHAPE, 1) == zen(SHAPE, 2)
    assert zen(SHAPE) < zen(deeper)
    assert zen(SHAPE) < zen(wider)
    net = candidate().net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    activations.zen(net, X, torch.Generator().manual_seed(3))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_net_is_most_alike_to_itself_and_without_a_teacher_nothing_is() -> None:
    net = candidate().net()
    own = net.train().features(X).detach()
    assert activations.alike(candidate().net(), X, own) == pytest.approx(1)
    assert PLUGINS["teacher-cka"](candidate()) < 1  # type: ignore[operator]
    for name in ("teacher-cka", "diswot", "diswot-semantic", "diswot-relation"):
        assert PLUGINS[name](Candidate(SHAPE, 0, PLAIN)) is None
