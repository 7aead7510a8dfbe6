"""What is said of embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd.text import metrics

DRAW = np.random.default_rng(0)


def test_spearman_is_pearsons_of_ranks() -> None:
    a, b = DRAW.normal(size=(2, 50))
    first, second = (np.argsort(np.argsort(x)).astype(float) for x in (a, b))
    assert metrics.spearman(a, b) == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert metrics.spearman(a, np.zeros(50)) == 0


def test_recall_counts_queries_whose_document_is_among_the_nearest() -> None:
    documents = np.eye(4)
    queries = np.array([[1, 0.1, 0, 0], [0.9, 1, 0, 0], [1, 0.9, 0.8, 0]])
    wanted = np.array([0, 0, 2])
    assert metrics.recall(queries, documents, wanted, 1).tolist() == [True, False, False]
    assert metrics.recall(queries, documents, wanted, 2).tolist() == [True, True, False]
    assert metrics.recall(queries, documents, wanted, 3).all()


def test_a_copy_is_faithful_and_a_turned_one_is_so_by_its_similarities() -> None:
    x = DRAW.normal(size=(30, 8))
    turn, _ = np.linalg.qr(DRAW.normal(size=(8, 8)))
    assert metrics.fidelity(x, x) == pytest.approx({"similarity_spearman": 1, "cosine": 1})
    turned = metrics.fidelity(x @ turn, x)
    assert turned["similarity_spearman"] == pytest.approx(1)
    assert turned["cosine"] < 0.5


def test_an_interval_holds_the_value_and_shrinks_with_n() -> None:
    x = DRAW.normal(size=(2, 1000))
    noisy = x[0] + x[1]
    few, many = (metrics.spearman_interval(noisy[:n], x[0][:n]) for n in (60, 1000))
    assert few.low < few.value < few.high
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_an_embedding_of_zeros_is_like_nothing() -> None:
    assert metrics.cosines(np.zeros((1, 3)), np.ones((1, 3))).tolist() == [0]
