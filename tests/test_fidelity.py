"""How good, how sure and how like its teacher: closed cases and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from edgekd import fidelity


def logits(seed: int, n: int = 200, k: int = 5) -> fidelity.Array:
    return np.random.default_rng(seed).normal(size=(n, k)) * 2


def test_a_net_that_is_as_sure_as_it_is_right_has_no_calibration_error() -> None:
    """Four fifths sure of one class, and right four times of five."""
    own = np.log(np.tile([0.8, 0.2], (100, 1)))
    labels = np.repeat([0, 1], [80, 20])
    assert fidelity.expected_calibration_error(own, labels) == pytest.approx(0, abs=1e-12)
    assert fidelity.expected_calibration_error(own, np.zeros(100, int)) == pytest.approx(0.2)


def test_calibration_error_is_its_transcription() -> None:
    own, labels = logits(0), np.random.default_rng(1).integers(0, 5, 200)
    p = np.exp(own) / np.exp(own).sum(1, keepdims=True)
    total = 0.0
    for low in np.linspace(0, 1, 15, endpoint=False):
        rows = (p.max(1) >= low) & (p.max(1) < low + 1 / 15)
        if rows.any():
            total += rows.mean() * abs((p[rows].argmax(1) == labels[rows]).mean() - p[rows].max(1).mean())
    assert fidelity.expected_calibration_error(own, labels) == pytest.approx(total)


def test_likelihood_and_divergence_are_the_formulae() -> None:
    own, theirs, labels = logits(0), logits(1), np.random.default_rng(2).integers(0, 5, 200)
    q, p = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (own, theirs))
    assert fidelity.negative_log_likelihood(own, labels) == pytest.approx(-np.log(q[np.arange(200), labels]).mean())
    assert fidelity.predictive_kl(own, theirs) == pytest.approx((p * np.log(p / q)).sum(1).mean())
    loyal = np.mean([1 - jensenshannon(a, b, base=2) for a, b in zip(p, q, strict=True)])
    assert fidelity.probability_loyalty(own, theirs) == pytest.approx(loyal)


@given(st.integers(0, 1000))
def test_the_same_answers_are_wholly_loyal(seed: int) -> None:
    own = logits(seed, 20)
    assert fidelity.agreement(own, own + 3) == 1
    assert fidelity.probability_loyalty(own, own + 3) == pytest.approx(1, abs=1e-6)
    assert fidelity.predictive_kl(own, own + 3) == pytest.approx(0, abs=1e-12)


def test_loyalty_falls_as_noise_grows() -> None:
    own, noise = logits(3), np.random.default_rng(4).normal(size=(200, 5))
    for measure in (fidelity.agreement, fidelity.probability_loyalty):
        values = [measure(own + size * noise, own) for size in (0.0, 0.5, 1.0, 2.0, 4.0)]
        assert values == sorted(values, reverse=True)
        assert values[-1] < 0.8


def test_answers_far_apart_stay_finite() -> None:
    own, theirs = np.array([[1000.0, -1000.0]]), np.array([[-1000.0, 1000.0]])
    assert fidelity.probability_loyalty(own, theirs) == pytest.approx(0)
    assert math.isfinite(fidelity.predictive_kl(own, theirs))
    assert fidelity.negative_log_likelihood(own, np.array([1])) == pytest.approx(2000)
