"""How scores rank nets, held against accuracies that others published."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.published import nets, photographs
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from edgekd.models.shape import parameters
from edgekd.search.ranking import budgets, mean_regret, regret, resampled, tau
from edgekd.search.scores.plugins import PLUGINS, Candidate

REACHED = [net.distilled for net in nets()]
PARAMS = [float(parameters(net.shape, 3, 100)) for net in nets()]
MACS = [float(sum(net.depths)) for net in nets()]  # every block has as many


def test_parameters_rank_the_published_nets_as_they_did() -> None:
    assert len(REACHED) == 64
    assert tau(PARAMS, REACHED) == pytest.approx(0.873, abs=1e-3)
    assert tau([net.alone for net in nets()], REACHED) == pytest.approx(0.836, abs=1e-3)
    seen = resampled(lambda rows: tau([PARAMS[i] for i in rows], [REACHED[i] for i in rows]), 64)
    assert seen.low < 0.873 < seen.high
    assert seen.high - seen.low < 0.15


def test_the_pick_by_parameters_costs_little_under_nine_budgets() -> None:
    assert mean_regret(PARAMS, REACHED, MACS) == pytest.approx(0.21, abs=0.05)
    at_random = [mean_regret(np.random.default_rng(s).random(64).tolist(), REACHED, MACS) for s in range(20)]
    assert np.mean(at_random) > 2


def test_regret_by_hand() -> None:
    reached, costs = [70.0, 72.0, 75.0], [1.0, 2.0, 3.0]
    assert regret([3.0, 1.0, 2.0], reached, costs, 3.0) == 5.0
    assert regret([3.0, 1.0, 2.0], reached, costs, 2.0) == 2.0
    assert regret([1.0, 1.0, 0.0], reached, costs, 2.0) == 1.0  # a tie is the mean of its nets
    assert regret(reached, reached, costs, 3.0) == 0
    with pytest.raises(ValueError, match=r"nothing costs at most 0\.5; the cheapest costs 1"):
        regret(reached, reached, costs, 0.5)
    assert len(budgets(MACS)) == 9
    assert min(MACS) <= budgets(MACS)[0] < budgets(MACS)[-1] <= max(MACS)


@pytest.mark.slow
def test_training_free_scores_rank_the_published_nets_as_was_measured() -> None:
    """SynFlow about 0.72; DisWOT's semantic term on natural crops at least 0.5; parameters above both."""
    pytest.importorskip("sklearn", reason="natural images come with scikit-learn")
    shown = photographs(0)
    found = {"synflow": [], "diswot-semantic": [], "snip": []}  # type: dict[str, list[float]]
    for net in nets():
        candidate = Candidate(net.shape, 0, shown)
        for name, values in found.items():
            value = PLUGINS[name](candidate)
            assert value is not None
            values.append(value)
    taus = {name: tau(values, REACHED) for name, values in found.items()}
    assert taus["synflow"] == pytest.approx(0.72, abs=0.04)
    assert taus["diswot-semantic"] >= 0.5
    assert taus["snip"] >= 0.8
    assert tau(PARAMS, REACHED) > max(taus["synflow"], taus["diswot-semantic"])


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=20))
def test_tau_is_scipys_with_ties_and_all(pairs: list[tuple[int, int]]) -> None:
    scores, reached = (list(map(float, row)) for row in zip(*pairs, strict=True))
    assert tau(scores, reached) == pytest.approx(float(kendalltau(scores, reached).statistic), nan_ok=True)
