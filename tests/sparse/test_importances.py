"""Scores against what they stand for: least squares solved anew, a layer's own answers, means that change less."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekd.sparse.holding import sparsifiable
from edgekd.sparse.inputs import Inputs, columns_of
from edgekd.sparse.masks import lowest_out
from edgekd.sparse.plans import Sparsity
from edgekd.sparse.scores import by_activation, by_obs, swapped


@pytest.fixture
def read() -> torch.Tensor:
    """[samples, D], whose values go together."""
    generator = torch.Generator().manual_seed(0)
    own, common = torch.randn(400, 6, generator=generator), torch.randn(400, 1, generator=generator)
    return own + 0.7 * common + 0.5


def test_obs_says_what_least_squares_lose_without_a_weight(read: torch.Tensor) -> None:
    weight = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    scores = by_obs(weight, read.T @ read / len(read))
    x, wanted = read.double().numpy(), (read @ weight.T).double().numpy()
    for row in range(3):
        for gone in range(6):
            others = np.delete(x, gone, axis=1)
            found, *_ = np.linalg.lstsq(others, wanted[:, row], rcond=None)
            lost = np.square(others @ found - wanted[:, row]).mean()
            assert float(scores[row, gone]) == pytest.approx(lost, rel=0.1)  # damped by a hundredth


def test_activation_is_the_norm_of_a_weights_own_part(read: torch.Tensor) -> None:
    weight = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    scores = by_activation(weight, read.square().mean(0)).numpy()
    parts = np.sqrt(np.square(read.numpy()[:, None, :] * weight.numpy()[None]).mean(0))
    np.testing.assert_allclose(scores, parts, rtol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
        nn.Conv2d(4, 6, (3, 1), stride=2, padding=(1, 0), bias=False),
        nn.Conv2d(4, 6, 2, dilation=2, bias=False),
        nn.Linear(4, 6, bias=False),
    ],
)
def test_columns_are_in_the_order_of_the_weights(layer: Any) -> None:
    x = torch.randn(2, 4, 9, 7) if isinstance(layer, nn.Conv2d) else torch.randn(2, 5, 4)
    read = columns_of(layer, x)
    answers = layer(x) - (
        0 if layer.bias is None else layer.bias.reshape(-1, *[1] * (2 * isinstance(layer, nn.Conv2d)))
    )
    rows = answers.movedim(1, -1).flatten(0, -2) if isinstance(layer, nn.Conv2d) else answers.flatten(0, -2)
    torch.testing.assert_close(read @ layer.weight.flatten(1).T, rows)


def test_inputs_are_seen_in_training_alone_and_old_ones_fade() -> None:
    layer = nn.Conv2d(2, 3, 3, padding=1)
    inputs = Inputs({"layer": layer}, pairs=True)
    x = torch.randn(4, 2, 8, 8)
    layer.eval()(x + 100)
    assert not inputs.square(0).any()
    layer.train()
    for _ in range(200):
        layer(x)
    torch.testing.assert_close(inputs.mean(0), x.mean((0, 2, 3)), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(inputs.square(0), x.square().mean((0, 2, 3)))
    assert inputs.pairs(0).shape == (18, 18)
    assert float(inputs.pairs(0)[4, 4]) == pytest.approx(float(x[:, 0].square().mean()), rel=1e-4)  # a kernel's middle


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shape=st.sampled_from([(4, 6), (3, 5, 3, 3), (1, 8, 1, 1)]),
    share=st.floats(0.1, 0.9),
)
def test_exchanged_weights_change_each_output_s_mean_less_and_stay_as_many(
    seed: int, shape: tuple[int, ...], share: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight, mean = torch.randn(shape, generator=generator), torch.randn(shape[1], generator=generator)
    square = mean.square() + torch.rand(shape[1], generator=generator)
    before = lowest_out(by_activation(weight, square), share)
    after = swapped(weight, before, mean, square)
    share_of = weight * mean.reshape(1, -1, *[1] * (len(shape) - 2))
    changes = [(share_of * ~mask).flatten(1).sum(1).abs() for mask in (before, after)]
    assert (changes[1] <= changes[0] + 1e-6).all()
    assert (after.flatten(1).sum(1) == before.flatten(1).sum(1)).all()


def test_exchanging_lowers_what_a_layer_with_positive_inputs_gets_wrong() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 64, generator=generator).relu() + 0.3 * torch.rand(64, generator=generator)
    weight = torch.randn(16, 64, generator=generator)
    mean, square = x.mean(0), x.square().mean(0)
    wanda = lowest_out(by_activation(weight, square), 0.7)
    exchanged = swapped(weight, wanda, mean, square)
    wrong = [float((x @ (weight * ~mask).T).square().mean()) for mask in (wanda, exchanged)]
    assert wrong[1] < wrong[0]


def test_a_layer_that_reads_too_much_at_once_for_obs_stays_dense_and_says_why() -> None:
    net = nn.Sequential(nn.Conv2d(288, 4, 3), nn.Conv2d(4, 4, 3))
    taken, left = sparsifiable(net, Sparsity(unstructured=0.5, importance="obs"))
    assert list(taken) == ["1"]
    assert left["0"] == "2,592 values are read at once, too many for obs (2,304)"
