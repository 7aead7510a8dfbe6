"""Losses against closed forms, independent transcriptions in numpy, and what each must not depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp, softmax
from torch import Tensor

from edgekd.train.lesson import Lesson
from edgekd.train.losses import divergences, labelled, relations
from edgekd.train.losses.divergences import kd
from edgekd.train.losses.logits import LOSSES
from edgekd.train.losses.settings import CrossEntropyLoss, KdLoss, LossSettings
from edgekd.train.terms import Said

Array = NDArray[np.float64]
B, C = 7, 5
DRAW = np.random.default_rng(0)
S, T = DRAW.normal(size=(2, B, C)) * 3
Y = np.array([0, 1, 2, 3, 4, 0, 2])
STUDENT, TEACHER, LABELS = torch.from_numpy(S), torch.from_numpy(T), torch.from_numpy(Y)
ROWS = np.arange(B)


def np_kd(s: Array, t: Array, tau: float) -> float:
    p = softmax(t / tau, axis=1)
    return float(tau**2 * (p * (log_softmax(t / tau, axis=1) - log_softmax(s / tau, axis=1))).sum(1).mean())


def np_standardised(s: Array, t: Array) -> float:
    s, t = ((x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) for x in (s, t))
    return np_kd(s, t, 2.0)


def np_dkd(s: Array, t: Array) -> float:
    total = 0.0
    for row in range(B):
        p, q = softmax(t[row] / 4), softmax(s[row] / 4)
        y = Y[row]
        target = p[y] * np.log(p[y] / q[y]) + (1 - p[y]) * np.log((1 - p[y]) / (1 - q[y]))
        rest_p, rest_q = (np.delete(x, y) / (1 - x[y]) for x in (p, q))
        total += 16 * (1.5 * target + 8 * (rest_p * np.log(rest_p / rest_q)).sum())
    return total / B


def np_nkd(s: Array, t: Array) -> float:
    total = 0.0
    for row in range(B):
        y = Y[row]
        total -= softmax(t[row])[y] * log_softmax(s[row])[y]
        rest_t, rest_s = np.delete(t[row], y) / 2, np.delete(s[row], y) / 2
        total -= 1.5 * 4 * (softmax(rest_t) * log_softmax(rest_s)).sum()
    return total / B


def np_ofa(s: Array, t: Array) -> float:
    true = np.eye(C)[Y]
    return float(-(((softmax(t, axis=1) + true) ** 1.5 - true) * log_softmax(s, axis=1)).sum(1).mean())


def np_pld(s: Array, t: Array) -> float:
    total = 0.0
    for row in range(B):
        others = [c for c in np.argsort(-t[row]) if c != Y[row]]
        order = [Y[row], *others]
        q = softmax(t[row])
        total += sum(q[c] * (logsumexp(s[row][order[place:]]) - s[row][c]) for place, c in enumerate(order))
    return float(total / B)


def np_margin(s: Array, t: Array) -> float:
    apart = [[(s[r, Y[r]] - s[r, c]) - (t[r, Y[r]] - t[r, c]) for c in range(C) if c != Y[r]] for r in range(B)]
    return float(np.mean(np.square(apart)))


def np_dist(s: Array, t: Array) -> float:
    p, q = softmax(t / 4, axis=1), softmax(s / 4, axis=1)
    inter = np.mean([1 - np.corrcoef(p[r], q[r])[0, 1] for r in range(B)])
    intra = np.mean([1 - np.corrcoef(p[:, c], q[:, c])[0, 1] for c in range(C)])
    return float(16 * (2 * inter + 3 * intra))


def np_skew(s: Array, t: Array) -> float:
    p, q = softmax(t, axis=1), softmax(s, axis=1)
    return float((p * np.log(p / (0.1 * p + 0.9 * q))).sum(1).mean())


def np_skew_reverse(s: Array, t: Array) -> float:
    return np_skew(t, s)


def np_bd(s: Array, t: Array) -> float:
    total = 0.0
    for row in range(B):
        p, q = softmax(t[row] / 4), softmax(s[row] / 4)
        hp, hq = -(p * np.log(p)).sum(), -(q * np.log(q)).sum()
        total += hq / (hp + hq) * (p * np.log(p / q)).sum() + hp / (hp + hq) * (q * np.log(q / p)).sum()
    return float(16 * total / B)


def np_bd_fixed(s: Array, t: Array) -> float:
    """Its weights are constants to the gradient: those of S."""
    total = 0.0
    for row in range(B):
        p, q, at = (softmax(x[row] / 4) for x in (t, s, S))
        hp, hq = -(p * np.log(p)).sum(), -(at * np.log(at)).sum()
        total += hq / (hp + hq) * (p * np.log(p / q)).sum() + hp / (hp + hq) * (q * np.log(q / p)).sum()
    return float(16 * total / B)


def np_top_k(s: Array, t: Array) -> float:
    total = 0.0
    for row in range(B):
        best = np.argsort(-t[row])[:2]
        p = softmax(t[row][best] / 4)
        total += (p * (np.log(p) - log_softmax(s[row] / 4)[best])).sum()
    return float(16 * total / B)


def np_hard(s: Array, t: Array) -> float:
    return float(-log_softmax(s, axis=1)[ROWS, t.argmax(1)].mean())


def np_uskd(s: Array, m: Array, labels: Array, alpha: float, beta: float, mu: float) -> float:
    p = np.stack([softmax(row) for row in s])
    own = p[np.arange(len(s)), labels]
    total = 0.0
    for row, label in enumerate(labels):
        rest = [k for k in range(s.shape[1]) if k != label]
        ranked = softmax(s[row][rest]) + softmax(m[row][rest])
        zipf = np.zeros(len(rest))
        for place, k in enumerate(np.argsort(-ranked), 1):
            zipf[k] = 1 / place
        zipf /= zipf.sum()
        soft = np.full(s.shape[1], 0.1 / s.shape[1])
        soft[label] += 0.9
        total += alpha * -(own[row] ** 2 + 1 - (own**2).mean()) * np.log(own[row])
        total += beta * -(zipf * log_softmax(s[row][rest])).sum() + mu * -(soft * log_softmax(m[row])).sum()
    return total / len(s)


def test_uskd_is_its_transcription_and_its_targets_are_constants() -> None:
    own, middle = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    made = labelled.uskd(own, middle, LABELS, 1.5, 0.2, 0.05)
    assert float(made) == pytest.approx(np_uskd(S, T, LABELS.numpy(), 1.5, 0.2, 0.05), rel=1e-5)
    made.backward()
    alone = TEACHER.clone().requires_grad_()
    (0.05 * torch.nn.functional.cross_entropy(alone, LABELS, label_smoothing=0.1)).backward()
    assert middle.grad is not None
    assert alone.grad is not None
    torch.testing.assert_close(middle.grad, alone.grad)  # the ranking is no path for a gradient
    squares = STUDENT.softmax(1)[torch.arange(B), LABELS].square()
    assert float((squares + 1 - squares.mean()).mean()) == pytest.approx(1.0)
    shifted = labelled.uskd(STUDENT + 3, TEACHER - 2, LABELS, 1.5, 0.2, 0.05)
    assert float(shifted) == pytest.approx(float(made), rel=1e-5)


PAIRS: dict[str, tuple[dict[str, Any], Callable[[Array, Array], float]]] = {
    "kd": ({"temperature": 3.0}, lambda s, t: np_kd(s, t, 3.0)),
    "kd, standardised": ({"temperature": 2.0, "standardise": True}, np_standardised),
    "dkd": ({"alpha": 1.5}, np_dkd),
    "nkd": ({"temperature": 2.0}, np_nkd),
    "ofa": ({}, np_ofa),
    "pld": ({}, np_pld),
    "margin-mse": ({}, np_margin),
    "dist": ({"gamma": 3.0}, np_dist),
    "skew-kl": ({}, np_skew),
    "skew-kl, reverse": ({"reverse": True}, np_skew_reverse),
    "bd-kd": ({}, np_bd),
    "top-k": ({"k": 2}, np_top_k),
    "hard-label": ({}, np_hard),
}
CLASSES = {kind.model_fields["name"].annotation.__args__[0]: kind for kind in get_args(get_args(LossSettings)[0])}


def settings(case: str) -> Any:
    name = case.split(",")[0]
    return CLASSES[name](name=name, **PAIRS[case][0] | {"weight": 1.0})


def total(losses: Sequence[LossSettings], student: Tensor, teacher: Tensor | None) -> Tensor:
    said = None if teacher is None else Said(teacher)
    value: Tensor = Lesson(losses, 1)(Said(student), said, LABELS)
    return value.sum()


def value(case: str, student: Tensor, teacher: Tensor = TEACHER) -> Tensor:
    return total([settings(case)], student, teacher)


def test_every_loss_that_a_pipeline_may_name_is_here() -> None:
    """Those with parameters or a memory are in test_lesson.py."""
    others = {
        "cross-entropy",
        "taid",
        "hint",
        "attention",
        "similarity",
        "squarehead",
        "rkd",
        "ofa-stages",
        "ckd",
        "uskd",
    }
    assert {case.split(",")[0] for case in PAIRS} == set(LOSSES) == set(CLASSES) - others


@pytest.mark.parametrize("case", PAIRS)
def test_a_loss_is_its_transcription(case: str) -> None:
    assert float(value(case, STUDENT)) == pytest.approx(PAIRS[case][1](S, T), rel=1e-5)


@pytest.mark.parametrize("case", PAIRS)
def test_a_gradient_is_that_of_the_transcription(case: str) -> None:
    student = STUDENT.clone().requires_grad_()
    value(case, student).backward()
    assert student.grad is not None
    for row, column in ((0, 0), (2, 2), (4, 1), (6, 4)):
        step = np.zeros_like(S)
        step[row, column] = 1e-5
        by_hand = np_bd_fixed if case == "bd-kd" else PAIRS[case][1]
        expected = (by_hand(S + step, T) - by_hand(S - step, T)) / 2e-5
        assert float(student.grad[row, column]) == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert float(student.grad.abs().sum()) > 0


@pytest.mark.parametrize("case", PAIRS)
def test_no_loss_sees_where_the_zero_of_logits_is(case: str) -> None:
    moved = value(case, STUDENT + torch.arange(B)[:, None], TEACHER - 5)
    torch.testing.assert_close(moved, value(case, STUDENT), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("case", ["kd", "kd, standardised", "dkd", "margin-mse", "dist", "skew-kl", "bd-kd"])
def test_these_are_zero_for_the_teacher_itself_and_stay_there(case: str) -> None:
    student = TEACHER.clone().requires_grad_()
    found = value(case, student)
    found.backward()
    assert float(found.detach()) == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", PAIRS)
def test_logits_that_are_far_apart_give_finite_losses_and_gradients(case: str) -> None:
    student = (-40.0 * TEACHER.float()).requires_grad_()
    found = value(case, student, 40.0 * TEACHER.float())
    found.backward()
    assert torch.isfinite(found)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_kd_at_two_classes_is_the_formula_by_hand() -> None:
    # p = (3/4, 1/4), q = (1/2, 1/2) at T = 2: 4 * (3/4 log 3/2 + 1/4 log 1/2)
    teacher = torch.tensor([[2 * torch.log(torch.tensor(3.0)), 0.0]])
    expected = 4 * (0.75 * torch.log(torch.tensor(1.5)) + 0.25 * torch.log(torch.tensor(0.5)))
    assert kd(torch.zeros(1, 2), teacher, 2.0) == pytest.approx(float(expected), rel=1e-5)


def test_at_a_high_temperature_the_gradient_is_the_centred_difference_of_logits() -> None:
    """Hinton et al., equation 4: (z_s - z_t) / (B C) once both are centred."""
    student, teacher = torch.from_numpy(DRAW.normal(size=(2, 4, 10)))
    student.requires_grad_()
    kd(student, teacher, 1e4).backward()
    difference = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    torch.testing.assert_close(student.grad, (difference / (4 * 10)).detach(), rtol=1e-3, atol=1e-6)


def test_dkd_with_the_teachers_own_doubt_as_beta_is_kd() -> None:
    for row in range(B):
        doubt = 1 - float(F.softmax(TEACHER[row], dim=0)[LABELS[row]])
        student, teacher, label = (x[row : row + 1] for x in (STUDENT, TEACHER, LABELS))
        found = labelled.dkd(student, teacher, label, 1.0, doubt, 1.0)
        assert float(found) == pytest.approx(float(kd(student, teacher, 1.0)), abs=1e-12)


def test_ofa_at_exponent_one_and_pld_of_a_sure_teacher_are_cross_entropies() -> None:
    soft = F.cross_entropy(STUDENT, F.softmax(TEACHER, dim=1))
    torch.testing.assert_close(labelled.ofa(STUDENT, TEACHER, LABELS, 1.0), soft)
    sure = 60.0 * F.one_hot(LABELS, C).double()
    torch.testing.assert_close(labelled.pld(STUDENT, sure, LABELS), F.cross_entropy(STUDENT, LABELS))


def test_pld_is_convex() -> None:
    for seed in range(50):
        a, b = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, B, C)) * 4)
        middle = labelled.pld((a + b) / 2, TEACHER, LABELS)
        assert float(middle) <= float(labelled.pld(a, TEACHER, LABELS) + labelled.pld(b, TEACHER, LABELS)) / 2 + 1e-12


def test_dist_between_classes_does_not_see_scale_and_shift_of_probabilities() -> None:
    p = F.softmax(TEACHER, dim=1)
    factor = torch.linspace(0.1, 0.9, B)[:, None]
    assert float((1 - relations.correlation(factor * p + 0.05, p)).abs().max()) < 1e-6
    assert float((1 - relations.correlation((factor * p + 0.05).T, p.T)).abs().max()) > 1e-3


def test_a_skewed_divergence_stays_finite_where_the_plain_one_grows_without_end() -> None:
    teacher, student = torch.tensor([[0.0, -200.0]]), torch.tensor([[-200.0, 0.0]])
    assert float(kd(student, teacher, 1.0)) > 150
    assert float(divergences.skew_kl(student, teacher, 0.1)) == pytest.approx(-np.log(0.1), rel=1e-5)
    tiny = divergences.skew_kl(STUDENT, TEACHER, 1e-9)
    assert float(tiny) == pytest.approx(float(kd(STUDENT, TEACHER, 1.0)), rel=1e-6)


def test_taid_is_kd_at_its_end_and_asks_nothing_at_its_start() -> None:
    torch.testing.assert_close(divergences.taid(STUDENT, TEACHER, 1.0), kd(STUDENT, TEACHER, 1.0))
    student = STUDENT.clone().requires_grad_()
    divergences.taid(student, TEACHER, 0.0).backward()
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-12, rtol=0)


def turned(x: Tensor) -> Tensor:
    """Rotated, scaled and moved, and in a larger space."""
    q, _ = torch.linalg.qr(torch.randn(x.shape[1] + 3, x.shape[1], generator=torch.Generator().manual_seed(0)).double())
    return torch.as_tensor(2.5 * x @ q.T + 7)


@pytest.mark.parametrize("loss", [relations.rkd_distance, relations.rkd_angle])
def test_relations_do_not_see_rotation_scale_shift_or_width(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    x = torch.from_numpy(DRAW.normal(size=(6, 4)))
    assert float(loss(turned(x), x)) == pytest.approx(0, abs=1e-12)
    assert float(loss(torch.from_numpy(DRAW.normal(size=(6, 4))), x)) > 1e-3
    student = torch.from_numpy(DRAW.normal(size=(6, 4))).requires_grad_()
    loss(student, x).backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_relational_losses_are_their_transcriptions() -> None:
    a, b = DRAW.normal(size=(5, 3)), DRAW.normal(size=(5, 4))

    def huber(x: Array) -> float:
        return float(np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5).mean())

    def distances(x: Array) -> Array:
        apart = np.array([[np.linalg.norm(i - j) for j in x] for i in x])
        return np.asarray(apart / apart[apart > 0].mean())

    def angles(x: Array) -> Array:
        def unit(v: Array) -> Array:
            return np.asarray(v / np.linalg.norm(v) if np.linalg.norm(v) else v)

        return np.array([[[unit(i - j) @ unit(k - j) for k in x] for i in x] for j in x])

    ours = relations.rkd_distance(torch.from_numpy(a), torch.from_numpy(b))
    assert float(ours) == pytest.approx(huber(distances(a) - distances(b)), rel=1e-9)
    ours = relations.rkd_angle(torch.from_numpy(a), torch.from_numpy(b))
    assert float(ours) == pytest.approx(huber(angles(a) - angles(b)), rel=1e-9)
    rows = [x @ x.T / np.linalg.norm(x @ x.T, axis=1, keepdims=True) for x in (a, b)]
    ours = relations.similarity(torch.from_numpy(a), torch.from_numpy(b))
    assert float(ours) == pytest.approx(((rows[0] - rows[1]) ** 2).sum() / 25, rel=1e-9)


def test_squarehead_counts_layers_of_any_scale_alike_and_is_finite_from_nothing() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.standard_normal((4, 8, 5, 5)), draw.standard_normal((4, 8, 5, 5))
    value = relations.squarehead(torch.from_numpy(a), torch.from_numpy(b))
    assert float(value) == pytest.approx(((a - b) ** 2).mean() / (b**2).mean(), rel=1e-9)
    scaled = relations.squarehead(torch.from_numpy(1e3 * a), torch.from_numpy(1e3 * b))
    assert float(scaled) == pytest.approx(float(value), rel=1e-9)
    assert torch.isfinite(relations.squarehead(torch.ones(2, 3), torch.zeros(2, 3)))
    assert float(relations.squarehead(torch.zeros(2, 3), torch.ones(2, 3))) == pytest.approx(1)


def test_attention_sees_where_features_are_large_and_neither_channels_nor_scale() -> None:
    features = torch.randn(3, 8, 6, 6)
    assert float(relations.attention(3 * features[:, torch.randperm(8)], features)) == pytest.approx(0, abs=1e-9)
    assert float(relations.attention(features.flip(3), features)) > 1e-4
    small = F.interpolate(features.square().mean(1, keepdim=True).sqrt(), scale_factor=2)
    assert torch.isfinite(relations.attention(features, small))
    assert relations.hint(features, features + 2) == pytest.approx(4)


def test_losses_add_up_with_their_weights() -> None:
    losses: list[LossSettings] = [
        KdLoss(name="kd", temperature=3.0, weight=0.7),
        CrossEntropyLoss(name="cross-entropy", weight=0.2),
    ]
    expected = 0.7 * kd(STUDENT, TEACHER, 3.0) + 0.2 * F.cross_entropy(STUDENT, LABELS)
    torch.testing.assert_close(total(losses, STUDENT, TEACHER), expected)


def test_a_loss_without_a_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match="kd: needs a teacher"):
        total([KdLoss(name="kd")], STUDENT, None)
