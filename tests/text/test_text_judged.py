"""What is said of an encoder's quality: paired with its teacher, and undecided where few texts cannot decide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekd.text import judged
from edgekd.text.evaluate import Answers
from edgekd.text.plans import TextBudget

DRAW = np.random.default_rng(0)


def unit(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def embeddings(n: int = 300) -> NDArray[Any]:
    return unit(DRAW.standard_normal((n, 8)))


def noisy(x: NDArray[Any], much: float) -> NDArray[Any]:
    return unit(x + much * DRAW.standard_normal(x.shape))


TEACHER = embeddings()
FIRST, SECOND = embeddings(400), embeddings(400)
SCORES = (FIRST * SECOND).sum(1) + 0.2 * DRAW.standard_normal(400)


def paired(much: float) -> Answers:
    return Answers(noisy(TEACHER, much), None, noisy(FIRST, much), noisy(SECOND, much), SCORES)


def test_a_teacher_is_as_like_itself_as_can_be() -> None:
    assert judged.fidelity(Answers(TEACHER), Answers(TEACHER)) == pytest.approx((1.0, 1.0, 1.0))


def test_a_student_in_another_space_is_judged_by_what_it_finds_alike() -> None:
    turned = np.linalg.qr(DRAW.standard_normal((8, 8)))[0]
    assert judged.fidelity(Answers(TEACHER @ turned), Answers(TEACHER)).value == pytest.approx(1.0)
    wider = np.concatenate([TEACHER, np.zeros((300, 3))], 1)
    assert judged.fidelity(Answers(wider), Answers(TEACHER)).value == pytest.approx(1.0)
    assert judged.cosine(Answers(wider), Answers(TEACHER)) is None


def test_what_the_teacher_finds_nearest_is_found_again_unless_noise_hides_it() -> None:
    teacher = Answers(TEACHER)
    assert judged.nearest(teacher, teacher) == 100
    assert 100 > judged.nearest(paired(0.1), teacher) > judged.nearest(paired(1.0), teacher)
    assert judged.nearest(Answers(embeddings()), teacher) < 15  # ten of 299 by chance


def test_noise_costs_fidelity_and_the_interval_holds_the_value() -> None:
    found = [judged.fidelity(paired(much), Answers(TEACHER)) for much in (0.05, 0.2, 0.8)]
    assert found[0].value > found[1].value > found[2].value
    assert all(one.low < one.value < one.high for one in found)


def test_a_drop_is_paired_so_that_what_both_get_wrong_costs_nothing() -> None:
    teacher = paired(0.0)
    same = judged.pairs_drop_points(teacher, teacher)
    assert same == (0.0, 0.0, 0.0)
    alone = judged.pairs_spearman(teacher)
    assert alone.high - alone.low > 0.02  # though neither number is known that well


@pytest.mark.parametrize(("bound", "state"), [(0.2, "pass"), (0.9999, "fail")])
def test_fidelity_is_held_to_its_limit(bound: float, state: str) -> None:
    (verdict,) = judged.quality(TextBudget(fidelity=bound), paired(0.2), Answers(TEACHER))
    assert (verdict.limit, verdict.state) == ("fidelity", state)


def test_a_limit_within_the_interval_is_not_decided() -> None:
    own = paired(0.2)
    bound = judged.pairs_spearman(own).value
    (verdict,) = judged.quality(TextBudget(spearman=bound), own, paired(0.0))
    assert verdict.state == "inconclusive"


def test_pairs_decide_nothing_where_a_split_has_none() -> None:
    budget = TextBudget(spearman=0.8, spearman_drop_points=1.0)
    assert judged.quality(budget, Answers(TEACHER), Answers(TEACHER)) == []


def test_classes_are_counted_and_paired() -> None:
    labels = np.arange(200) % 4
    sure = np.eye(4)[labels]
    wrong = sure.copy()
    wrong[:20] = np.eye(4)[(labels[:20] + 1) % 4]
    teacher, own = Answers(sure, labels), Answers(wrong, labels)
    found = judged.told(own, teacher, teacher)
    assert found["accuracy_percent"][0] == 90.0
    assert found["accuracy_change_points"][0] == -10.0
    assert found["agrees_with_teacher_percent"] == 90.0
    (verdict,) = judged.quality(TextBudget(accuracy_drop_points=5.0), own, teacher)
    assert (verdict.limit, verdict.state, verdict.value) == ("accuracy_drop_points", "fail", 10.0)
