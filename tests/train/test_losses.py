"""Losses against closed forms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from edgekd.train.losses.logits import kd, weighted
from edgekd.train.losses.settings import CrossEntropyLoss, KdLoss, LossSettings


def test_kd_is_zero_only_for_the_teacher_itself() -> None:
    logits = torch.randn(5, 3)
    assert kd(logits, logits, 4.0) == pytest.approx(0, abs=1e-6)
    assert kd(logits.roll(1, 1), logits, 4.0) > 0


def test_kd_at_two_classes_is_the_formula_by_hand() -> None:
    # p = (3/4, 1/4), q = (1/2, 1/2) at T = 2: 4 * (3/4 log 3/2 + 1/4 log 1/2)
    teacher = torch.tensor([[2 * torch.log(torch.tensor(3.0)), 0.0]])
    expected = 4 * (0.75 * torch.log(torch.tensor(1.5)) + 0.25 * torch.log(torch.tensor(0.5)))
    assert kd(torch.zeros(1, 2), teacher, 2.0) == pytest.approx(float(expected), rel=1e-5)


def test_at_a_high_temperature_the_gradient_is_the_centred_difference_of_logits() -> None:
    """Hinton et al., equation 4: (z_s - z_t) / (B C) once both are centred."""
    student, teacher = torch.randn(4, 10, dtype=torch.float64, requires_grad=True), torch.randn(4, 10).double()
    kd(student, teacher, 1e4).backward()
    difference = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    torch.testing.assert_close(student.grad, (difference / (4 * 10)).detach(), rtol=1e-3, atol=1e-6)


def test_losses_add_up_with_their_weights() -> None:
    student, teacher, labels = torch.randn(6, 4), torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    losses: list[LossSettings] = [
        KdLoss(name="kd", temperature=3.0, weight=0.7),
        CrossEntropyLoss(name="cross-entropy", weight=0.2),
    ]
    expected = 0.7 * kd(student, teacher, 3.0) + 0.2 * F.cross_entropy(student, labels)
    torch.testing.assert_close(weighted(losses, student, teacher, labels), expected)


def test_kd_without_a_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match="kd: needs a teacher's logits"):
        weighted([KdLoss(name="kd")], torch.zeros(1, 2), None, torch.zeros(1, dtype=torch.long))
