from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.comparisons import comparison, figures, stored
from hypothesis import given
from hypothesis import strategies as st

from edgekd.budget import Budget
from edgekd.engine.events import Progress, Silent
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import BudgetError, ConfigError
from edgekd.search.choose import by_mean_rank, over_bounds, run_feasible
from edgekd.search.space import sample
from edgekd.search.spaces import ResidualCnnSpace
from edgekd.search.stages import Feasible
from edgekd.stats import Interval


def candidate(name: str, **scores: float | None) -> dict[str, Any]:
    return {"id": name, "scores": {"macs": 1, **scores}}


def test_ranks_are_averaged_and_not_values() -> None:
    """By the sum of values c would be first: its synflow dwarfs everything else."""
    pool = [
        candidate("a", params=9, synflow=2.0),
        candidate("b", params=8, synflow=1.0),
        candidate("c", params=1, synflow=1e9),
        candidate("d", params=2, synflow=0.5),
    ]
    assert by_mean_rank(pool, ("params", "synflow"))[0]["id"] == "a"
    assert by_mean_rank(pool, ("params",))[0]["id"] == "a"
    assert by_mean_rank(pool, ("synflow",))[0]["id"] == "c"


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


def feasible(folder: Path, speeds: dict[str, float], bound: float, headroom: float) -> list[str]:
    """Which of the candidates, by their speed over the teacher, count as feasible."""
    by_name = {f"c{n}": speed for n, speed in enumerate(speeds.values())}
    names = list(by_name)
    models = {"teacher-fp32": figures(1.0)} | {name: figures(1 / speed) for name, speed in by_name.items()}
    ratios = {"teacher-fp32": {name: Interval(s, s, s) for name, s in by_name.items()}}
    (folder / "candidates.json").write_text(json.dumps({"candidates": [{"id": name} for name in names]}))
    inputs = {
        "comparison": stored(folder, comparison(models, ratios)),
        "shortlist": Artifact("shortlist", "shortlist", folder),
    }
    settings = Feasible(budget=Budget(speedup_over_teacher=bound), headroom=headroom)
    run_feasible(settings, inputs, Work(folder, folder, Progress(Silent())))
    return [row["id"] for row in json.loads((folder / "candidates.json").read_text())["candidates"]]


def test_headroom_is_wished_for_and_the_budget_is_what_counts(tmp_path: Path) -> None:
    assert feasible(tmp_path, {"a": 4.0, "b": 3.2, "c": 1.0}, bound=3.0, headroom=1.25) == ["c0"]
    assert feasible(tmp_path, {"b": 3.2, "c": 1.0}, bound=3.0, headroom=1.25) == ["c0"]
    with pytest.raises(BudgetError, match=r"the fastest, c0: speedup_over_teacher 2 \[2, 2\], limit 3: fail"):
        feasible(tmp_path, {"b": 2.0, "c": 1.0}, bound=3.0, headroom=1.25)


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
