"""Fronts hold what nothing beats, and volumes are those that counting points gives."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.search.studies.pareto import feasible, front, hypervolume
from edgekd.search.studies.plans import Direction

BOTH: tuple[Direction, ...] = ("maximise", "minimise")
rows_of = {
    size: st.lists(st.tuples(*[st.integers(0, 6)] * size), max_size=9).map(
        lambda rows: [tuple(map(float, row)) for row in rows]
    )
    for size in (1, 2, 3, 4)
}


def test_a_front_by_hand() -> None:
    rows = [(90.0, 5.0), (92.0, 5.0), (95.0, 9.0), (92.0, 5.0), (91.0, 4.0), (94.0, 9.0)]
    assert front(rows, BOTH) == [1, 2, 3, 4]  # equal ones are all there
    assert front([], BOTH) == []
    assert front([(1.0, float("inf")), (2.0, float("inf"))], BOTH) == [1]


@given(rows=rows_of[3])
@settings(max_examples=60, deadline=None)
def test_every_row_is_on_the_front_or_beaten_by_one_that_is(rows: list[tuple[float, ...]]) -> None:
    places = front(rows, ("minimise",) * 3)

    def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    for number, row in enumerate(rows):
        assert (number in places) == (not any(beats(rows[place], row) for place in places))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_volume_is_the_number_of_cells_that_a_row_dominates(size: int) -> None:
    """On whole numbers, the cells of a grid are all there is."""
    less: list[Direction] = ["minimise"] * size
    more: list[Direction] = ["maximise"] * size
    generator = np.random.default_rng(size)
    for _ in range(12):
        rows = generator.integers(0, 7, (generator.integers(1, 8), size)).astype(float)
        cells = np.stack(np.meshgrid(*[np.arange(6)] * size, indexing="ij"), axis=-1).reshape(-1, size)
        covered = (rows[:, None] <= cells[None]).all(axis=2).any(axis=0).sum()
        assert hypervolume(rows.tolist(), less, [6.0] * size) == covered
        mirrored = hypervolume((-rows).tolist(), more, [-6.0] * size)
        assert mirrored == covered


def test_a_volume_has_the_units_of_its_objectives_and_ignores_what_is_past_the_reference() -> None:
    assert hypervolume([(90.0, 2.0)], BOTH, (10.0, 5.0)) == 80 * 3
    assert hypervolume([(90.0, 2.0), (95.0, 6.0), (5.0, 1.0)], BOTH, (10.0, 5.0)) == 80 * 3
    assert hypervolume([(90.0, 2.0), (70.0, 1.0)], BOTH, (10.0, 5.0)) == 80 * 3 + 60
    assert hypervolume([], BOTH, (10.0, 5.0)) == 0


@given(rows=rows_of[2], more=rows_of[2])
@settings(max_examples=40, deadline=None)
def test_more_rows_never_cover_less_and_only_the_front_counts(
    rows: list[tuple[float, ...]], more: list[tuple[float, ...]]
) -> None:
    reference = (-1.0, 7.0)
    all_of_them = rows + more
    assert hypervolume(all_of_them, BOTH, reference) >= hypervolume(rows, BOTH, reference)
    best = [all_of_them[place] for place in front(all_of_them, BOTH)]
    assert hypervolume(best, BOTH, reference) == hypervolume(all_of_them, BOTH, reference)
    assert hypervolume(all_of_them, BOTH, reference) <= prod((8.0, 8.0))


def test_a_constraint_is_kept_at_zero_and_below() -> None:
    assert feasible(())
    assert feasible((0.0, -1.0))
    assert not feasible((-1.0, 0.1))
