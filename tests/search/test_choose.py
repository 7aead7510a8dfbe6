from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.budget import Budget
from edgekd.errors import ConfigError
from edgekd.search.choose import by_mean_rank, over_bounds
from edgekd.search.space import sample
from edgekd.search.stages import ResidualCnnSpace


def candidate(name: str, **scores: float | None) -> dict[str, Any]:
    return {"id": name, "scores": {"macs": 1, **scores}}


def test_ranks_are_averaged_and_not_values() -> None:
    pool = [
        candidate("a", params=3, synflow=1e9),
        candidate("b", params=2, synflow=2e9),
        candidate("c", params=1, synflow=0),
    ]
    assert [c["id"] for c in by_mean_rank(pool, ("params", "synflow"))][-1] == "c"
    assert by_mean_rank(pool, ("params",))[0]["id"] == "a"
    assert by_mean_rank(pool, ("synflow",))[0]["id"] == "b"


def test_a_score_that_is_not_defined_ranks_last() -> None:
    pool = [candidate("a", diswot=None), candidate("b", diswot=-5.0), candidate("c", diswot=-9.0)]
    assert [c["id"] for c in by_mean_rank(pool, ("diswot",))] == ["b", "c", "a"]


def test_ties_go_to_fewer_macs() -> None:
    pool = [candidate("a", params=1) | {"scores": {"params": 1, "macs": 9}}, candidate("b", params=1)]
    assert by_mean_rank(pool, ("params",))[0]["id"] == "b"


@pytest.mark.parametrize(
    ("budget", "why"),
    [
        (Budget(speedup_over_teacher_int8=4), "M MACs, more than the teacher's 3.00 M / 4"),
        (Budget(shrink_over_teacher=40), "kB as int8, more than the teacher's 4000 kB / 40"),
        (Budget(size_mib=0.1), "MiB as int8, over 0.1 MiB"),
        (Budget(), "^$"),
    ],
)
def test_what_cannot_meet_the_budget_is_known_before_it_is_measured(budget: Budget, why: str) -> None:
    heavy = {"scores": {"macs": 1_000_000, "params": 200_000}}
    assert re.search(why, over_bounds(heavy, {"macs": 3_000_000, "params": 1_000_000}, budget))


def test_a_space_too_small_for_its_candidates_is_named() -> None:
    space = ResidualCnnSpace(stem_widths=(8,), stem_strides=(1,), stages=(1,), blocks=(1,), width_max=24)
    with pytest.raises(ConfigError, match=r"search\.candidates: 50 were asked for.*gave only \d+ different"):
        sample(space, 50, seed=0)


@given(st.integers(0, 1000))
def test_every_draw_keeps_to_its_space(seed: int) -> None:
    space = ResidualCnnSpace()
    shapes = sample(space, 20, seed)
    assert len(set(shapes)) == 20
    assert shapes == sample(space, 20, seed)
    for shape in shapes:
        outs = [out for _, out in shape.widths]
        assert outs == sorted(outs)
        assert all(16 <= w <= 96 and w % 8 == 0 for pair in shape.widths for w in pair)
        assert all(out / 2 <= inner <= out for inner, out in shape.widths)
        assert shape.strides[0] == 1
        assert shape.strides.count(2) in (1, 2)
