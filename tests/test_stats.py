"""Statistics against closed forms, published counts and simulation."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.stats import (
    conformal_quantile,
    fewest_scores,
    geometric_interval,
    mean_interval,
    paired_difference,
    percentile,
    proportion_interval,
)


@pytest.mark.parametrize(("q", "least"), [(0.9, 64), (0.95, 130), (0.99, 662)])
def test_percentiles_are_refused_below_the_published_counts(q: float, least: int) -> None:
    assert percentile(range(least - 1), q) is None
    assert percentile(range(least), q) == least - 1  # the largest: nothing may be discarded yet


@pytest.mark.parametrize(("q", "n"), [(0.9, 127), (0.95, 259), (0.99, 1307)])
def test_five_may_lie_above_from_the_published_counts_on(q: float, n: int) -> None:
    assert percentile(range(n), q) == n - 5
    assert percentile(range(n - 1), q) == n - 1 - 4


@given(st.integers(64, 2000), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_percentile_is_conservative(n: int, seed: int) -> None:
    samples = np.random.default_rng(seed).standard_normal(n)
    found = percentile(samples.tolist(), 0.9)
    assert found is not None
    assert found >= np.quantile(samples, 0.9, method="lower")


def test_a_t_interval_is_the_textbook_one() -> None:
    # mean 3, standard deviation sqrt(2.5), t(0.975, 4) = 2.776445
    value, low, high = mean_interval([1, 2, 3, 4, 5])
    half = 2.776445 * math.sqrt(2.5 / 5)
    assert (value, low, high) == pytest.approx((3, 3 - half, 3 + half), rel=1e-6)


def test_an_interval_of_one_value_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 independent values, got 1"):
        mean_interval([1.0])


def test_geometric_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    trials = [geometric_interval((1.5 * np.exp(0.02 * generator.standard_normal(7))).tolist()) for _ in range(1000)]
    covered = np.mean([low <= 1.5 <= high for _, low, high in trials])
    assert 0.93 <= covered <= 0.97


def test_no_end_of_a_time_lies_below_zero_however_far_two_processes_are_apart() -> None:
    assert mean_interval([0.04, 0.09]).low < 0
    assert geometric_interval([0.04, 0.09]) == pytest.approx((0.06, 0.00035, 10.4), rel=0.01)


@given(st.integers(2, 300), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_a_paired_difference_turns_round_with_its_sides(n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = generator.random(n) < 0.9, generator.random(n) < 0.8
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_a_paired_difference_is_the_closed_form() -> None:
    base = np.array([True] * 90 + [False] * 10)
    new = np.array([True] * 85 + [False] * 5 + [True] * 3 + [False] * 7)  # b = 5 lost, c = 3 won, n = 100
    value, low, high = paired_difference(base, new)
    half = 1.6448536 * math.sqrt((8 - 4 / 100) / 100**2) * 100
    assert (value, low, high) == pytest.approx((-2, -2 - half, -2 + half), rel=1e-6)


def test_one_more_lost_never_looks_better() -> None:
    ends = []
    for lost in range(30):
        base, new = np.ones(1000, bool), np.ones(1000, bool)
        new[:lost] = False
        ends.append(paired_difference(base, new).low)
    assert all(a >= b for a, b in pairwise(ends))


def test_no_difference_at_all_still_has_an_interval() -> None:
    same = np.ones(1000, bool)
    assert paired_difference(same, same) == pytest.approx((0, -0.29957, 0.29957), rel=1e-4)


def test_samples_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="same length"):
        paired_difference(np.ones(3, bool), np.ones(4, bool))


def test_wilson_is_wilson() -> None:
    value, low, high = proportion_interval(8, 10)  # published example: 0.490 to 0.943
    assert (value, round(low, 1), round(high, 1)) == (80.0, 49.0, 94.3)


@pytest.mark.parametrize(("confidence", "fewest"), [(0.5, 1), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_a_conformal_bound_needs_so_many_scores(confidence: float, fewest: int) -> None:
    assert fewest_scores(confidence) == fewest
    assert conformal_quantile(list(range(fewest)), confidence) == fewest - 1
    with pytest.raises(ValueError, match=f"bound needs at least {fewest} scores, got {fewest - 1}"):
        conformal_quantile([0.0] * (fewest - 1), confidence)


def test_a_conformal_bound_holds_whatever_scores_are_drawn_from() -> None:
    draw = np.random.default_rng(0)
    for scores in (draw.standard_cauchy((2000, 30)), draw.exponential(size=(2000, 30))):
        held = [row[0] <= conformal_quantile(row[1:].tolist(), 0.9) for row in scores]
        assert 0.88 < np.mean(held) < 0.93  # 27 of 30 at least
