"""Losses of embeddings and relations against transcriptions in numpy that share no code with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from edgekd.text import losses

Array = NDArray[np.float64]
DRAW = np.random.default_rng(0)
B, D, A, T = 5, 6, 3, 7
S, E = DRAW.normal(size=(2, B, D))
QS, KS, VS = DRAW.normal(size=(3, B, A, T, 4))
QT, KT, VT = DRAW.normal(size=(3, B, A, T, 8))
LENGTHS = [7, 5, 2, 7, 3]
MASK = np.array([[int(place < length) for place in range(T)] for length in LENGTHS])


def tensor(x: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(x))


def np_relation(s: Array, t: Array, heads: int, measure: str) -> float:
    """Each text alone, without its padding; heads by hand."""
    rows, total = 0, 0.0
    for b, n in enumerate(LENGTHS):
        parts = []
        for x in (s, t):
            wide = np.concatenate([x[b, a, :n] for a in range(A)], axis=1)  # [n, A d]
            d = wide.shape[1] // heads
            parts.append(
                [wide[:, h * d : (h + 1) * d] @ wide[:, h * d : (h + 1) * d].T / np.sqrt(d) for h in range(heads)]
            )
        for own, theirs in zip(*parts, strict=True):
            if measure == "mse":
                total += np.square(own - theirs).sum()
                rows += n * n
            else:
                p = softmax(theirs, axis=1)
                total += (p * (log_softmax(theirs, axis=1) - log_softmax(own, axis=1))).sum()
                rows += n
    return total / rows


def np_attention() -> float:
    rows, total = 0, 0.0
    for b, n in enumerate(LENGTHS):
        for a in range(A):
            own, theirs = (q[b, a, :n] @ k[b, a, :n].T / np.sqrt(q.shape[3]) for q, k in ((QS, KS), (QT, KT)))
            p = softmax(theirs, axis=1)
            total += (p * (log_softmax(theirs, axis=1) - log_softmax(own, axis=1))).sum()
            rows += n
    return total / rows


@pytest.mark.parametrize("measure", ["kl", "mse"])
@pytest.mark.parametrize("heads", [1, 2, 3, 5, 12])
def test_relations_are_as_transcribed_whatever_the_heads(measure: str, heads: int) -> None:
    own, theirs = (losses.relation_heads(tensor(x), heads) for x in (VS, VT))
    found = losses.relation(own, theirs, tensor(MASK), measure)
    assert float(found) == pytest.approx(np_relation(VS, VT, heads, measure), rel=1e-5)


def test_attention_is_as_transcribed() -> None:
    found = losses.attention((tensor(QS), tensor(KS)), (tensor(QT), tensor(KT)), tensor(MASK))
    assert float(found) == pytest.approx(np_attention(), rel=1e-5)


@pytest.mark.parametrize("measure", ["kl", "mse"])
def test_a_copy_has_the_relations_of_its_original(measure: str) -> None:
    parts = losses.relation_heads(tensor(VS), 4)
    assert float(losses.relation(parts, parts, tensor(MASK), measure)) == pytest.approx(0, abs=1e-7)


def test_what_is_padded_changes_no_relation() -> None:
    other = VS.copy()
    other[1, :, 5:] = 100
    one, two = (losses.relation(tensor(x), tensor(VT), tensor(MASK)) for x in (VS, other))
    torch.testing.assert_close(one, two)


def np_cosines(x: Array) -> Array:
    return np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in x] for a in x])


def np_similarities() -> float:
    apart = np_cosines(S) - np_cosines(E)
    return float(np.mean([apart[i, j] ** 2 for i in range(B) for j in range(B) if i != j]))


def np_queue(held: Array) -> float:
    total = 0.0
    for s, e in zip(S, E, strict=True):
        cosines = [s @ x / np.linalg.norm(s) / np.linalg.norm(x) / 0.1 for x in (e, *held)]
        total -= cosines[0] - np.log(np.exp(cosines).sum())
    return total / B


def np_margins() -> float:
    own, theirs = np_cosines(S), np_cosines(E)
    total = 0.0
    for i in range(B):
        others = [j for j in range(B) if j != i]
        near = max(others, key=lambda j: theirs[i, j])
        total += sum(((own[i, near] - own[i, j]) - (theirs[i, near] - theirs[i, j])) ** 2 for j in others) / (B - 2)
    return float(total / B)


def test_losses_of_embeddings_are_as_transcribed() -> None:
    s, e = tensor(S), tensor(E)
    assert float(losses.embedding(s, e)) == pytest.approx(float(np.mean([(a - b) @ (a - b) for a, b in zip(S, E)])))  # noqa: B905
    assert float(losses.cosine(s, e)) == pytest.approx(
        1 - np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(S, E, strict=True)])
    )
    assert float(losses.similarities(s, e)) == pytest.approx(np_similarities())
    assert float(losses.margins(s, e)) == pytest.approx(np_margins())
    held = DRAW.normal(size=(9, D))
    assert float(losses.queue(s, e, tensor(held), 0.1)) == pytest.approx(np_queue(held))


def test_hidden_states_leave_padding_out() -> None:
    s, t = DRAW.normal(size=(2, B, T, D))
    wanted = np.mean([np.square(s[b, n] - t[b, n]).mean() for b in range(B) for n in range(LENGTHS[b])])
    assert float(losses.hidden(tensor(s), tensor(t), tensor(MASK))) == pytest.approx(wanted)


def test_scaled_hidden_states_do_not_depend_on_the_scale() -> None:
    s, t = DRAW.normal(size=(2, B, T, D))
    part = [(b, n) for b in range(B) for n in range(LENGTHS[b])]
    wanted = sum(np.square(s[at] - t[at]).sum() for at in part) / sum(np.square(t[at]).sum() for at in part)
    for scale in (1, 1000):
        found = losses.hidden(tensor(s * scale), tensor(t * scale), tensor(MASK), scaled=True)
        assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_one_text_is_alike_to_no_other() -> None:
    one = tensor(S[:1]).requires_grad_()
    value = losses.similarities(one, tensor(E[:1]))
    value.backward()
    assert float(value.detach()) == 0
    assert one.grad is not None
    assert not one.grad.isnan().any()


def test_two_texts_have_no_margins() -> None:
    assert float(losses.margins(tensor(S[:2]), tensor(E[:2]))) == 0
