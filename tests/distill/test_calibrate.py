"""After calibration a student is as sure as it is right, and answers as before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekd.data.dataset import Samples
from edgekd.data.stages import Preprocess
from edgekd.distill.calibrate import MOST, best_temperature, calibrate
from edgekd.fidelity import expected_calibration_error
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.train.batches import normalised, pixels

HOW = Preprocess(mean=(0.5,), std=(0.25,))
SHAPE = NetShape(stem_width=4, widths=((4, 4), (8, 8)), strides=(1, 2))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (20000, 5))
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    labels = (p.cumsum(1) > generator.random((20000, 1))).argmax(1)
    assert best_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.05)
    assert expected_calibration_error(logits, labels) < 0.01


def test_labels_that_are_all_right_or_say_nothing_stay_within_bounds() -> None:
    logits = np.eye(4)[np.arange(100) % 4] * 5.0
    assert 0.5 < best_temperature(logits, np.arange(100) % 4) < 1.5  # as sure of 100 right ones as 100 allow
    assert 10 < best_temperature(logits, (np.arange(100) * 7 // 3) % 4) <= MOST * 1.01


@pytest.mark.parametrize("dual", [None, 0.5])
def test_a_net_is_divided_by_it_once_and_answers_the_same(dual: float | None) -> None:
    net = checkpoint.build(SHAPE.model_copy(update={"dual_head": dual}), list("abc"), 1, seed=0).net.train()
    generator = np.random.default_rng(1)
    val = Samples(generator.integers(0, 256, (300, 8, 8, 1), np.uint8), generator.integers(0, 3, 300))
    with torch.no_grad():
        net.classifier.weight.mul_(100)
    x = normalised(pixels(val, torch.arange(300)), HOW)
    before = net.eval()(x).detach()
    net.train()
    temperature = calibrate(net, val, HOW)
    assert net.training
    after = net.eval()(x).detach()
    assert (temperature is None) == (dual is not None)
    if temperature is not None:
        torch.testing.assert_close(after * temperature, before, rtol=1e-4, atol=1e-5)
        assert expected_calibration_error(after.numpy(), val.labels) < expected_calibration_error(
            before.numpy(), val.labels
        )
    assert torch.equal(after.argmax(1), before.argmax(1))
