"""Losses on features: value and gradient against independent transcriptions in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekd.train.losses import relations
from edgekd.train.terms import info_nce

Array = NDArray[np.float64]
DRAW = np.random.default_rng(1)
MAPS = DRAW.normal(size=(2, 3, 4, 5, 5))
ROWS = DRAW.normal(size=(2, 5, 6))
OTHERS = DRAW.normal(size=(7, 6))
OTHERS /= np.linalg.norm(OTHERS, axis=1, keepdims=True)
KEYS = ROWS[1] / np.linalg.norm(ROWS[1], axis=1, keepdims=True)


def np_attention(a: Array, b: Array) -> float:
    def where(x: Array) -> Array:
        flat = (x**2).mean(1).reshape(len(x), -1)
        return np.asarray(flat / np.linalg.norm(flat, axis=1, keepdims=True))

    return float(((where(a) - where(b)) ** 2).mean())


def np_similarity(a: Array, b: Array) -> float:
    grams = [x.reshape(len(x), -1) @ x.reshape(len(x), -1).T for x in (a, b)]
    one, two = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in grams)
    return float(((one - two) ** 2).sum() / len(a) ** 2)


def np_squarehead(a: Array, b: Array) -> float:
    return float(((a - b) ** 2).mean() / (b**2).mean())


def np_hint(a: Array, b: Array) -> float:
    return float(((a - b) ** 2).mean())


def huber(x: Array) -> float:
    return float(np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5).mean())


def np_distance(a: Array, b: Array) -> float:
    def scaled(x: Array) -> Array:
        apart = np.array([[np.linalg.norm(i - j) for j in x] for i in x])
        return np.asarray(apart / apart[apart > 0].mean())

    return huber(scaled(a) - scaled(b))


def np_angle(a: Array, b: Array) -> float:
    def unit(v: Array) -> Array:
        return np.asarray(v / np.linalg.norm(v) if np.linalg.norm(v) else v)

    def angles(x: Array) -> Array:
        return np.array([[[unit(i - j) @ unit(k - j) for k in x] for i in x] for j in x])

    return huber(angles(a) - angles(b))


def np_info_nce(a: Array, _b: Array) -> float:
    own = a / np.linalg.norm(a, axis=1, keepdims=True)
    positive, negative = np.exp((own * KEYS).sum(1) / 0.2), np.exp(own @ OTHERS.T / 0.2).sum(1)
    return float(-np.log(positive / (positive + negative)).mean())


def our_info_nce(a: Tensor, _b: Tensor) -> Tensor:
    return info_nce(a, torch.from_numpy(KEYS), torch.from_numpy(OTHERS), 0.2)


Ours = Callable[[Tensor, Tensor], Tensor]
ByHand = Callable[[Array, Array], float]
CASES: dict[str, tuple[Ours, ByHand, Array]] = {
    "attention": (relations.attention, np_attention, MAPS),
    "similarity": (relations.similarity, np_similarity, MAPS),
    "squarehead": (relations.squarehead, np_squarehead, MAPS),
    "hint": (relations.hint, np_hint, MAPS),
    "rkd, distances": (relations.rkd_distance, np_distance, ROWS),
    "rkd, angles": (relations.rkd_angle, np_angle, ROWS),
    "ckd": (our_info_nce, np_info_nce, ROWS),
}


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_those_of_the_transcription(case: str) -> None:
    ours, by_hand, (a, b) = CASES[case]
    student = torch.from_numpy(a.copy()).requires_grad_()
    value = ours(student, torch.from_numpy(b))
    assert float(value.detach()) == pytest.approx(by_hand(a, b), rel=1e-6)
    value.backward()
    assert student.grad is not None
    for place in range(0, a.size, a.size // 7):
        step = np.zeros(a.size)
        step[place] = 1e-6
        step = step.reshape(a.shape)
        expected = (by_hand(a + step, b) - by_hand(a - step, b)) / 2e-6
        assert float(student.grad.flatten()[place]) == pytest.approx(expected, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("loss", [relations.rkd_distance, relations.rkd_angle])
def test_a_last_batch_of_one_sample_and_equal_ones_teach_nothing(loss: Ours) -> None:
    for rows in (torch.randn(1, 4), torch.ones(3, 4)):
        student = rows.clone().requires_grad_()
        value = loss(student, rows)
        assert float(value) == 0
        value.backward()
        assert student.grad is None or torch.isfinite(student.grad).all()
