"""Three states, and which variant they let ship."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.comparisons import BUSY, QUIET, comparison, figures, stored
from safetensors.numpy import save_file

from edgekd.budget import Budget, at_least, at_most, worst
from edgekd.deploy.select import rank, why_not
from edgekd.deploy.stages import Select
from edgekd.deploy.verdicts import accuracy, latency_and_size
from edgekd.engine.store import Artifact
from edgekd.stats import Interval


@pytest.mark.parametrize(("low", "high", "state"), [(1, 2, "pass"), (2, 4, "inconclusive"), (3.5, 4, "fail")])
def test_at_most_has_three_answers(low: float, high: float, state: str) -> None:
    assert at_most("x", 3, (low + high) / 2, low, high).state == state


@pytest.mark.parametrize(("low", "high", "state"), [(4, 5, "pass"), (2, 4, "inconclusive"), (1, 2, "fail")])
def test_at_least_has_three_answers(low: float, high: float, state: str) -> None:
    assert at_least("x", 3, (low + high) / 2, low, high).state == state


def test_a_drop_is_judged_by_the_end_of_its_interval() -> None:
    budget = Budget(accuracy_drop_points=1.0)
    assert accuracy(budget, Interval(-0.2, -0.9, 0.5))[0].state == "pass"
    assert accuracy(budget, Interval(-0.2, -1.1, 0.7))[0].state == "inconclusive"
    assert accuracy(budget, Interval(-2.0, -3.0, -1.1))[0].state == "fail"


def test_a_busy_machine_passes_an_absolute_latency_and_fails_only_the_hopeless() -> None:
    """Other work only adds to wall time: what is fast enough all the same is, what is too slow may be the machine."""
    slow, fast, hopeless = (Budget(latency_p50_ms=limit) for limit in (0.8, 2.0, 0.4))
    quiet, busy = (comparison({"int8": figures(1.0)}, {}, noise) for noise in (QUIET, BUSY))
    assert [latency_and_size(slow, seen, "int8")[0].state for seen in (quiet, busy)] == ["fail", "inconclusive"]
    assert [latency_and_size(hopeless, seen, "int8")[0].state for seen in (quiet, busy)] == ["fail", "fail"]
    assert [latency_and_size(fast, seen, "int8")[0].state for seen in (quiet, busy)] == ["pass", "pass"]


def test_headroom_tightens_speed_and_size_and_leaves_accuracy() -> None:
    budget = Budget(accuracy_drop_points=1, latency_p50_ms=2, size_mib=4, shrink_over_teacher=10).with_headroom(2)
    assert budget == Budget(accuracy_drop_points=1, latency_p50_ms=1, size_mib=2, shrink_over_teacher=20)


def predictions(folder: Path, name: str, wrong: int) -> Artifact:
    folder = folder / name
    folder.mkdir()
    logits = np.eye(2, dtype=np.float32)[[1] * wrong + [0] * (1000 - wrong)]
    save_file({"answers": logits, "right": logits.argmax(1) == 0}, folder / "predictions.safetensors")
    return Artifact("predictions", name, folder)


def exported(folder: Path, name: str, refused: str | None) -> Artifact:
    folder = folder / f"model-{name}"
    folder.mkdir()
    (folder / "export.json").write_text(json.dumps({"refused": refused}))
    return Artifact("exported", name, folder)


def inputs(folder: Path, *, int8_wrong: int, int8_speed: float, refused: str | None = None) -> dict[str, Artifact]:
    speeds = {"fp32": 3.0, "int8": int8_speed}
    sizes = {"teacher-fp32": 1000, "fp32": 200, "int8": 50}
    measured = comparison(
        {name: figures(size_bytes=size) for name, size in sizes.items()},
        {
            "teacher-fp32": {n: Interval(s, s - 0.1, s + 0.1) for n, s in speeds.items()},
            "fp32": {"int8": Interval(int8_speed / 3, int8_speed / 3 - 0.1, int8_speed / 3 + 0.1)},
        },
    )
    return {
        "comparison": stored(folder, measured),
        "val.teacher-fp32": predictions(folder, "teacher", 10),
        "val.fp32": predictions(folder, "fp32", 12),
        "model.fp32": exported(folder, "fp32", None),
        "model.int8": exported(folder, "int8", refused),
        "val.int8": predictions(folder, "int8", int8_wrong),
    }


TWO_POINTS = Select(budget=Budget(accuracy_drop_points=2), variants=("fp32", "int8"))


def test_a_limit_that_all_miss_is_no_reason_to_lose_answers(tmp_path: Path) -> None:
    both = Select(budget=Budget(accuracy_drop_points=2, shrink_over_teacher=100), variants=("fp32", "int8"))
    assert rank(both, inputs(tmp_path, int8_wrong=90, int8_speed=9))[0].name == "fp32"


HUNDREDTH = Select(budget=Budget(shrink_over_teacher=100), variants=("fp32", "int8"))


def test_the_fastest_within_the_budget_ships(tmp_path: Path) -> None:
    ranked = rank(
        Select(budget=Budget(accuracy_drop_points=2), variants=("fp32", "int8")),
        inputs(tmp_path, int8_wrong=12, int8_speed=6),
    )
    assert [r.name for r in ranked] == ["int8", "fp32"]
    assert why_not(ranked[1], ranked[0]).startswith("int8 is 2.00 times as fast")


def test_an_int8_that_is_slower_does_not_ship(tmp_path: Path) -> None:
    ranked = rank(
        Select(budget=Budget(accuracy_drop_points=2), variants=("fp32", "int8")),
        inputs(tmp_path, int8_wrong=12, int8_speed=2),
    )
    assert ranked[0].name == "fp32"


def test_an_int8_that_is_worse_does_not_ship_however_fast(tmp_path: Path) -> None:
    ranked = rank(
        Select(budget=Budget(accuracy_drop_points=2), variants=("fp32", "int8")),
        inputs(tmp_path, int8_wrong=90, int8_speed=9),
    )
    assert ranked[0].name == "fp32"
    assert "accuracy_drop_points 8" in why_not(ranked[1], ranked[0])


def test_an_int8_that_its_runtime_answers_otherwise_does_not_ship_however_good(tmp_path: Path) -> None:
    given = inputs(tmp_path, int8_wrong=10, int8_speed=9, refused="agrees on 80 %")
    ranked = rank(TWO_POINTS, given)
    assert ranked[0].name == "fp32"
    assert why_not(ranked[1], ranked[0]) == "agrees on 80 %"


def test_what_a_lock_overruled_says_so(tmp_path: Path) -> None:
    ranked = rank(
        Select(budget=Budget(accuracy_drop_points=2), variants=("fp32", "int8")),
        inputs(tmp_path, int8_wrong=12, int8_speed=6),
    )
    assert why_not(ranked[0], ranked[1]) == "today it would: the lock says fp32"


def test_where_all_fail_the_worst_verdict_stays(tmp_path: Path) -> None:
    ranked = rank(
        Select(budget=Budget(shrink_over_teacher=100), variants=("fp32", "int8")),
        inputs(tmp_path, int8_wrong=12, int8_speed=6),
    )
    assert {worst(r.verdicts) for r in ranked} == {"fail"}
