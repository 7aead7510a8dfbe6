"""Metrics against scikit-learn and scipy, and drops that are positive when the candidate is worse."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import f1_score, mean_absolute_error, root_mean_squared_error

from edgekd.errors import ConfigError, DataError
from edgekd.gate.metrics import judge, suited

DRAW = np.random.default_rng(0)
FEW = 300  # resamples: enough for what is looked at here
LABELS = DRAW.integers(0, 4, 300)
TARGETS = DRAW.standard_normal(300)


def logits(wrong: int) -> np.ndarray:
    """[300, 4], the first `wrong` of them not right."""
    answers = LABELS.copy()
    answers[:wrong] = (answers[:wrong] + 1) % 4
    return np.eye(4, dtype=np.float32)[answers]


def numbers(noise: float) -> np.ndarray:
    return TARGETS + noise * np.random.default_rng(1).standard_normal(300)


def test_values_are_those_of_other_libraries() -> None:
    assert judge("accuracy", logits(30), logits(3), LABELS).candidate == pytest.approx(99)
    f1 = judge("f1-macro", logits(30), logits(60), LABELS, FEW)
    assert f1.baseline == pytest.approx(f1_score(LABELS, logits(30).argmax(1), average="macro"))
    old, new = numbers(0.1), numbers(0.3)
    assert judge("mae", old, new, TARGETS, FEW).candidate == pytest.approx(mean_absolute_error(TARGETS, new))
    assert judge("rmse", old[:, None], new[:, None], TARGETS, FEW).baseline == pytest.approx(
        root_mean_squared_error(TARGETS, old)
    )
    assert judge("spearman", old, new, TARGETS, FEW).candidate == pytest.approx(spearmanr(TARGETS, new).statistic)


@pytest.mark.parametrize("metric", ["accuracy", "f1-macro", "mae", "rmse", "spearman"])
def test_a_drop_is_positive_when_the_candidate_is_worse_and_none_against_itself(metric: str) -> None:
    good, bad, right = (logits(10), logits(40), LABELS) if metric in ("accuracy", "f1-macro") else (
        numbers(0.1), numbers(0.3), TARGETS)  # fmt: skip
    worse, better, same = (judge(metric, *sides, right, FEW).drop for sides in ((good, bad), (bad, good), (good, good)))
    assert worse.low > 0
    assert better.high < 0
    assert same.value == 0
    assert same.low <= 0 <= same.high


def test_pairs_stay_together_in_a_bootstrap() -> None:
    """Two models that err alike: the interval of their difference is far narrower than that of either error."""
    old = numbers(0.5)
    new = old + 0.001 * DRAW.standard_normal(300)
    drop = judge("mae", old, new, TARGETS, FEW).drop
    assert drop.high - drop.low < 0.5  # percent; the error itself is uncertain by 10


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """The candidate's errors are 10 % larger; 90 % intervals of 100 samples, 60 times."""
    covered = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        error, extra = draw.standard_normal((2, 200))
        drop = judge("rmse", error, 1.1 * (0.8 * error + 0.6 * extra), np.zeros(200), FEW).drop
        covered += drop.low <= 10 <= drop.high
    assert 47 <= covered <= 60


def test_the_metric_is_chosen_by_the_labels() -> None:
    assert suited(None, classes=True) == "accuracy"
    assert suited(None, classes=False) == "rmse"
    assert suited("f1-macro", classes=True) == "f1-macro"


def test_whole_numbers_that_a_model_answers_are_its_classes() -> None:
    assert judge("accuracy", LABELS, np.roll(LABELS, 1), LABELS).baseline == 100


def test_narrow_types_neither_wrap_nor_overflow() -> None:
    targets = np.zeros(300, np.uint8)
    found = judge("mae", np.ones(300, np.uint8), np.full(300, 2, np.uint8), targets, FEW)
    assert (found.baseline, found.candidate) == (1, 2)
    half = np.full(300, 400, np.float16)  # its square is no float16
    assert judge("rmse", half, half, np.zeros(300), FEW).baseline == 400


def test_a_resample_without_errors_divides_by_nothing() -> None:
    """Three samples in three hundred are wrong: many resamples hold none of them."""
    wrong = TARGETS.copy()
    wrong[:3] += 1
    drop = judge("mae", wrong, wrong, TARGETS, FEW).drop
    assert (drop.low, drop.value, drop.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: suited("bleu", classes=True), "--metric: 'bleu'; one of accuracy, f1-macro"),
        (lambda: suited("accuracy", classes=False), r"--metric accuracy: is of `labels`"),
        (lambda: suited("mae", classes=True), r"--metric mae: is of `targets`"),
        (lambda: judge("mae", logits(0), logits(0), TARGETS), r"--metric mae: needs one number a sample"),
        (lambda: judge("mae", TARGETS, TARGETS, TARGETS), "--metric mae: the baseline makes no error at all"),
        (lambda: judge("spearman", np.ones(300), TARGETS, TARGETS), "--metric spearman: is not defined where"),
        (lambda: judge("accuracy", TARGETS[:, None], TARGETS[:, None], LABELS), r"float64 \[300, 1\]\. For one number"),
        (lambda: judge("accuracy", logits(0), logits(0), LABELS + 1), "labels go from 1 to 4, and the models know 4"),
    ],
)
def test_a_metric_that_does_not_suit_is_refused(call: object, says: str) -> None:
    with pytest.raises((ConfigError, DataError), match=says):
        call()  # type: ignore[operator]
