"""The gate's errors are bounded: on scripted clocks, and for accuracy by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.gate.judge import CONFIDENCE, growth, latency, regression_percent, smallest_regression_percent
from edgekd.stats import Interval, discordant_difference, geometric_interval, smallest_drop_points

PROCESSES = 8


def speedup(slower: float, spread: float, seed: int) -> Interval:
    """As the gate has it: the candidate `slower` by a share, in eight processes."""
    draw = np.random.default_rng(seed)
    ratios = 1 / (1 + slower) * np.exp(spread * draw.standard_normal(PROCESSES))
    return geometric_interval(ratios.tolist(), CONFIDENCE)


@pytest.mark.parametrize(
    ("slower", "spread", "state"),
    [
        (0.0, 0.009, "pass"),
        (0.02, 0.002, "pass"),
        (0.05, 0.009, "fail"),
        (0.03, 0.009, "inconclusive"),
        (0.05, 0.10, "inconclusive"),
        (-0.2, 0.009, "pass"),
    ],
)
def test_a_regression_is_judged_by_the_ends_of_its_interval(slower: float, spread: float, state: str) -> None:
    assert latency(speedup(slower, spread, seed=1), 3.0).state == state


def test_a_regression_is_how_much_longer_it_takes() -> None:
    assert regression_percent(Interval(0.5, 0.4, 0.8)) == pytest.approx((100, 25, 150))  # half as fast: twice as long


def shares(slower: float, spread: float, trials: int = 1000) -> dict[str, float]:
    states = [latency(speedup(slower, spread, seed), 3.0).state for seed in range(trials)]
    return {state: states.count(state) / trials for state in ("pass", "fail", "inconclusive")}


def test_a_regression_equal_to_the_limit_fails_in_at_most_one_of_twenty() -> None:
    assert shares(0.03, 0.009)["fail"] <= 0.065
    assert shares(0.03, 0.009)["pass"] <= 0.065


def test_the_smallest_regression_that_is_told_is_found_in_four_of_five() -> None:
    smallest = smallest_regression_percent(3.0, PROCESSES)
    assert 0.76 <= shares(smallest / 100, 0.009)["fail"] <= 0.86


@pytest.mark.parametrize("lost", [25, 9])
def test_an_accuracy_verdict_needs_the_interval_and_nothing_else(lost: int) -> None:
    """A McNemar test would be significant for both; only one of them excludes a drop of half a point."""
    drop = discordant_difference(lost, 2, 1000)
    assert (drop.high < -0.5) is (lost == 25)


def fails(n: int, drop: float, discordance: float, margin: float = 0.5, trials: int = 4000) -> float:
    """How often a true drop (points) fails, where `discordance` of the samples are answered otherwise by one model."""
    lost = (discordance + drop / 100) / 2
    draw = np.random.default_rng(0).multinomial(n, [lost, discordance - lost, 1 - discordance], trials)
    return float(np.mean([discordant_difference(b, c, n).high < -margin for b, c, _ in draw]))


@pytest.mark.parametrize("discordance", [0.01, 0.02, 0.05, 0.10])
def test_a_drop_equal_to_the_margin_fails_in_at_most_six_of_a_hundred(discordance: float) -> None:
    assert fails(1000, drop=0.5, discordance=discordance) <= 0.06


@pytest.mark.parametrize(("n", "discordance", "least"), [(1000, 0.02, 0.95), (1000, 0.05, 0.65), (2000, 0.05, 0.80)])
def test_a_drop_of_two_points_is_found(n: int, discordance: float, least: float) -> None:
    assert fails(n, drop=2.0, discordance=discordance) >= least


@pytest.mark.parametrize(("n", "discordance"), [(1000, 0.05), (2000, 0.02), (5000, 0.05)])
def test_the_smallest_drop_that_is_told_is_found_in_four_of_five(n: int, discordance: float) -> None:
    smallest = smallest_drop_points(0.5, n, discordance)
    assert 0.75 <= fails(n, smallest, discordance) <= 0.87


@given(st.integers(0, 50), st.integers(0, 50), st.integers(100, 5000))
def test_an_interval_holds_what_was_seen(lost: int, won: int, n: int) -> None:
    value, low, high = discordant_difference(lost, won, n)
    assert low < value < high
    assert discordant_difference(won, lost, n) == pytest.approx((-value, -high, -low))


def test_growth_below_the_floor_is_none() -> None:
    small, grown = Interval(0.4, 0.4, 0.4), Interval(0.8, 0.75, 0.85)
    assert growth("memory", 10.0, small, grown).state == "fail"
    assert growth("memory", 10.0, small, grown, floor=1.0).state == "pass"
    assert growth("memory", 10.0, Interval(100, 99, 101), Interval(112, 111, 113), 1.0).state == "inconclusive"
    assert growth("memory", 10.0, Interval(100, 99, 101), Interval(120, 119, 121), 1.0).state == "fail"
