"""Scores against direct transcriptions of their definitions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekd.data.stages import Preprocess
from edgekd.engine.events import Progress, Silent
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.models import checkpoint
from edgekd.models.residual_cnn import ResidualCnn
from edgekd.models.shape import NetShape, shape_of
from edgekd.search import score
from edgekd.search.scores.diswot import look, relation, semantic
from edgekd.search.scores.synflow import synflow
from edgekd.search.spaces import ResidualCnnSpace
from edgekd.search.stages import Score

X, Y = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 5


def net(width: int, seed: int = 0) -> ResidualCnn:
    shape = NetShape(stem_width=8, widths=((8, 8), (8, width)), strides=(1, 2))
    return checkpoint.build(shape, list("abcde"), 1, seed).net


def test_synflow_of_a_linear_net_is_its_closed_form() -> None:
    """R = 1^T |W2| |W1| 1, and each of the two layers contributes R."""
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False))
    first, second = (p.detach().abs().double() for p in linear.parameters())
    expected = math.log(2 * float((second @ first).sum()))
    assert synflow(linear, (1, 2, 2)) == pytest.approx(expected)


def test_synflow_leaves_the_net_as_it_was() -> None:
    before = net(16)
    weights = {name: value.clone() for name, value in before.state_dict().items()}
    synflow(before, (1, 8, 8))
    assert all(torch.equal(weights[name], value) for name, value in before.state_dict().items())


def test_a_candidates_synflow_is_that_of_a_net_nobody_has_run_data_through(tmp_path: Path, digits: Artifact) -> None:
    """Looking at a batch moves the batch norms' statistics; the score must not see that."""
    space = ResidualCnnSpace(width_max=24)
    teacher = NetShape(stem_width=8, widths=((8, 24),), strides=(1,))
    settings = Score(space=space, candidates=2, teacher=teacher, preprocess=Preprocess(), threads=1)
    score.run(settings, {"data": digits}, Work(tmp_path, tmp_path, Progress(Silent())))
    for row in json.loads((tmp_path / "scores.json").read_text())["candidates"]:
        shape = shape_of(row["shape"])
        fresh = checkpoint.build(shape, [str(d) for d in range(10)], 1, settings.seed).net
        assert row["scores"]["synflow"] == synflow(fresh, (1, 28, 28))


def test_the_semantic_term_is_the_authors_definition() -> None:
    """Directly: C x C outer products per class, rows normalised, squared Frobenius distance."""
    student, teacher = look(net(16, 1), X, Y), look(net(16, 2), X, Y)

    def rows(g: torch.Tensor) -> torch.Tensor:
        return F.normalize(g[:, :, None] * g[:, None, :], dim=2)

    classes, channels = student.head.shape
    distance = (rows(teacher.head) - rows(student.head)).square().sum() / (classes * channels)
    assert semantic(student, teacher) == pytest.approx(-float(distance), rel=1e-5)


def test_the_head_gradient_is_the_one_of_a_full_backward_pass() -> None:
    model = net(16)
    F.cross_entropy(model.train()(X), Y).backward()
    torch.testing.assert_close(look(net(16), X, Y).head, model.classifier.weight.grad)


def test_the_relation_term_is_the_authors_definition() -> None:
    student, teacher = look(net(16), X, Y), look(net(24), X, Y)
    distance = 0.0
    grams = [(a.features @ a.features.T) for a in (student, teacher)]
    for i in range(16):
        for j in range(16):
            s, t = (float(g[i, j] / g[i].norm()) for g in grams)
            distance += (s - t) ** 2
    assert relation(student, teacher) == pytest.approx(-distance / 256, rel=1e-4)


def test_the_semantic_term_is_undefined_for_other_widths() -> None:
    assert semantic(look(net(16), X, Y), look(net(24), X, Y)) is None


def test_a_net_is_nearest_to_itself() -> None:
    own = look(net(16), X, Y)
    assert relation(own, own) == 0
    assert semantic(own, own) == pytest.approx(0, abs=1e-6)
