"""A study measures what it may choose: under a budget, on the device, and goes on where it was killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekd import find_student
from edgekd.engine.store import Store
from edgekd.errors import BudgetError, ConfigError
from edgekd.pipeline import load_pipeline

STUDY = "search.study={sampler: random, trials: 6, batch: 3}"


@pytest.mark.slow
def test_every_measured_trial_of_a_study_is_a_candidate_with_its_latency(
    micro_settings: list[str], workspace: Path, tmp_path: Path
) -> None:
    pipeline = load_pipeline("digits", [*micro_settings, STUDY, "search.measure=2", "search.race.students=0"])
    told = find_student(pipeline, out=tmp_path / "out", workspace=workspace)
    (record,) = Store(workspace).records("search.study")
    seen = json.loads((workspace / "objects" / record["digest"] / "scores.json").read_text("utf-8"))
    assert seen["tried"] == 6
    assert told["candidates"] == len(seen["candidates"]) > 0
    for row in seen["candidates"]:
        low, value, high = sorted(row["latency_p50_ms"]["local-cpu"])
        assert 0 < low <= value <= high
        assert row["keeps"] == {"local-cpu": True}  # the budget says nothing of latency
    assert told["chosen"] in {row["id"] for row in seen["candidates"]}
    again = find_student(pipeline, out=tmp_path / "out", workspace=workspace)
    assert again["shape"] == told["shape"]


@pytest.mark.slow
def test_a_study_that_nothing_gets_through_says_why(micro_settings: list[str], workspace: Path, tmp_path: Path) -> None:
    pipeline = load_pipeline("digits", [*micro_settings, STUDY, "budget={size_mib: 0.001}"])
    with pytest.raises(BudgetError, match=r"none of 6 shapes of the study keeps the bounds.*MiB as int8, over 0\.001"):
        find_student(pipeline, out=tmp_path / "out", workspace=workspace)


def test_an_impossible_study_is_refused_when_the_pipeline_is_read(micro_settings: list[str]) -> None:
    with pytest.raises(ConfigError, match="tournament 50 is above population 10; lower it"):
        load_pipeline("digits", [*micro_settings, "search.study={sampler: evolution, tournament: 50, population: 10}"])
