"""Units go in the order of least harm, and the others make up for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekd.prune.obs import least_missed, made_up, remove


def problem(units: int = 6, size: int = 4, out: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights, and inputs whose last unit is the sum of the first two: nothing is lost without it."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((units, size, 4000))
    x[-1] = x[0] + x[1]
    return torch.from_numpy(draw.standard_normal((out, units, size))), torch.from_numpy(x.reshape(units * size, -1))


def error(weight: torch.Tensor, other: torch.Tensor, x: torch.Tensor) -> float:
    return float((((weight - other).reshape(len(weight), -1) @ x) ** 2).sum() / x.shape[1])


def test_a_unit_that_others_can_stand_for_goes_first_and_costs_nothing() -> None:
    weight, x = problem()
    found = remove(weight, x @ x.T / x.shape[1], {5})
    assert found.order[0] in (0, 1, 5)
    assert found.errors[0] < 0.05 * found.errors[1]
    assert not found.weights[5][:, found.order[0]].any()
    assert error(weight, found.weights[5], x) < 0.05 * float((weight**2).mean()) * weight.numel() / 6


@pytest.mark.parametrize("stays", [1, 2, 4])
def test_what_is_left_is_the_least_squares_answer_of_the_units_that_stay(stays: int) -> None:
    weight, x = problem(seed=3)
    found = remove(weight, x @ x.T / x.shape[1], {stays})
    left = [unit for unit in range(6) if unit not in found.order[: 6 - stays]]
    rows = torch.cat([torch.arange(unit * 4, unit * 4 + 4) for unit in left])
    target = weight.reshape(5, -1) @ x
    best = torch.linalg.lstsq(x[rows].T, target.T).solution.T
    reached = error(weight, found.weights[stays], x)
    assert reached == pytest.approx(float(((best @ x[rows] - target) ** 2).sum() / x.shape[1]), rel=0.05)
    silent = weight.clone()
    silent[:, found.order[: 6 - stays]] = 0
    assert reached < 0.95 * error(weight, silent, x)  # without the others' help it is worse


def test_errors_rise_and_all_units_go_in_the_end() -> None:
    weight, x = problem(seed=5)
    found = remove(weight, x @ x.T / x.shape[1], {0, 6})
    assert sorted(found.order) == list(range(6))
    assert list(found.errors) == sorted(found.errors)
    assert not found.weights[0].any()
    assert torch.equal(found.weights[6], weight)


def test_of_several_readers_the_unit_goes_first_that_all_of_them_miss_least() -> None:
    """One of them reads unit 2 hardly at all, the other one as all; unit 4 neither."""
    draw = np.random.default_rng(0)
    square = torch.eye(6 * 4, dtype=torch.float64)
    first, second = (torch.from_numpy(draw.standard_normal((5, 6, 4))) for _ in range(2))
    first[:, 2] *= 0.01
    first[:, 4] *= 0.1
    second[:, 4] *= 0.1
    assert least_missed([(first, square)])[0] == 2
    assert least_missed([(first, square), (second, square)])[:2] == [4, 2]
    assert least_missed([(first, square), (1000 * second, square)])[:2] == [4, 2]  # a layer's scale says nothing


@pytest.mark.parametrize("stays", [1, 3, 6])
def test_a_reader_of_what_stays_comes_as_near_as_it_can(stays: int) -> None:
    weight, x = problem(seed=3)
    stay = [5, 0, 2, 4, 1, 3][:stays]
    found = made_up(weight, x @ x.T / x.shape[1], stay)
    rows = torch.cat([torch.arange(unit * 4, unit * 4 + 4) for unit in sorted(stay)])
    target = weight.reshape(5, -1) @ x
    best = torch.linalg.lstsq(x[rows].T, target.T, driver="gelsd").solution.T
    least = float(((best @ x[rows] - target) ** 2).sum() / x.shape[1])
    assert error(weight, found, x) == pytest.approx(least, rel=0.05, abs=0.05)
    assert not found[:, [unit for unit in range(6) if unit not in stay]].any()


def test_where_nothing_stays_a_reader_has_nothing_left() -> None:
    weight, x = problem(seed=3)
    assert not made_up(weight, x @ x.T / x.shape[1], []).any()
