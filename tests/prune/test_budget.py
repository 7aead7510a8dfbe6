"""The choice under a budget is the best there is, and keeps it."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.prune.budget import BINS, cheapest_errors

OPTION = st.tuples(st.integers(0, 50), st.integers(-20, 20))


@settings(max_examples=200)
@given(rows=st.lists(st.lists(OPTION, min_size=1, max_size=4), min_size=1, max_size=5), budget=st.integers(-60, 60))
def test_no_other_choice_within_the_budget_has_less_error(rows: list[list[tuple[int, int]]], budget: int) -> None:
    errors, costs = ([[option[part] for option in row] for row in rows] for part in (0, 1))
    chosen = cheapest_errors(errors, costs, budget)
    able = [picks for picks in itertools.product(*rows) if sum(cost for _, cost in picks) <= budget]
    if not able:
        assert chosen is None
        return
    assert chosen is not None
    assert sum(row[option] for row, option in zip(costs, chosen, strict=True)) <= budget
    found = sum(row[option] for row, option in zip(errors, chosen, strict=True))
    slack = len(rows) * (budget - sum(min(row) for row in costs)) / BINS  # each cost is rounded up
    surely = [picks for picks in able if sum(cost for _, cost in picks) <= budget - slack]
    assert found <= min((sum(error for error, _ in picks) for picks in surely), default=math.inf)


def test_a_budget_that_nothing_keeps_has_no_choice() -> None:
    assert cheapest_errors([[0.0, 1.0]], [[1.0, 0.6]], 0.5) is None
    assert cheapest_errors([[0.0, 1.0]], [[1.0, 0.6]], 0.6) == [1]
    assert cheapest_errors([[0.0, 1.0]], [[1.0, 0.6]], 1.0) == [0]


@pytest.mark.parametrize("bins", [50, 4000])
def test_a_coarser_grid_keeps_the_budget_too(bins: int) -> None:
    errors, costs = [[0.0, 0.3, 1.0]] * 20, [[0.05, 0.0331, 0.0117]] * 20
    for budget in (0.3, 0.5, 0.77, 0.9):
        chosen = cheapest_errors(errors, costs, budget, bins)
        assert chosen is not None
        assert sum(row[option] for row, option in zip(costs, chosen, strict=True)) <= budget
