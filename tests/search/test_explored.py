"""A study measures what it may choose: under a budget, on the device, and goes on where it was killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekd import build, find_student
from edgekd.api import rebuild
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
    *_, record = Store(workspace).records("search.study")
    seen = json.loads((workspace / "objects" / record["digest"] / "scores.json").read_text("utf-8"))
    assert seen["tried"] == told["tried"] == 6
    assert told["others"]["latency_kind"] == "measured"
    assert told["candidates"] == len(seen["candidates"]) > 0
    for row in seen["candidates"]:
        assert row["latency_p50_ms"]["local-cpu"][0] > 0
        assert row["keeps"] == {"local-cpu": True}  # the budget says nothing of latency
    assert told["chosen"] in {row["id"] for row in seen["candidates"]}
    again = find_student(pipeline, out=tmp_path / "out", workspace=workspace)
    assert again["shape"] == told["shape"]


@pytest.mark.nightly
def test_a_replayed_build_ships_the_locked_student_though_its_study_is_gone_through_anew(
    micro_settings: list[str], workspace: Path, tmp_path: Path
) -> None:
    """Measurements are taken anew, so that another study is gone through; what was decided stays."""
    sets = [*micro_settings, "search.study={sampler: nsga2, population: 4, tournament: 4, trials: 12, batch: 4}",
            "search.measure=3", "search.race={students: 2, share: 0.3, factor: 2}", "distill.epochs=4"]  # fmt: skip
    (first,) = build(load_pipeline("digits", sets), workspace=workspace, out=tmp_path / "first")
    again = rebuild(first.folder / "edgekd.lock", workspace=tmp_path / "new", out=tmp_path / "again")
    assert again.report["search"]["shape"] == first.report["search"]["shape"]
    own, theirs = (built.report["search"]["shortlist"][0] for built in (again, first))
    assert (own["id"], own["params"], own["macs"]) == (theirs["id"], theirs["params"], theirs["macs"])


@pytest.mark.slow
def test_a_study_that_nothing_gets_through_says_why(micro_settings: list[str], workspace: Path, tmp_path: Path) -> None:
    pipeline = load_pipeline("digits", [*micro_settings, STUDY, "budget={size_mib: 0.001}"])
    with pytest.raises(BudgetError, match=r"none of 6 shapes of the study keeps the bounds.*MiB as int8, over 0\.001"):
        find_student(pipeline, out=tmp_path / "out", workspace=workspace)


def test_an_impossible_study_is_refused_when_the_pipeline_is_read(micro_settings: list[str]) -> None:
    with pytest.raises(ConfigError, match="tournament 50 is above population 10; lower it"):
        load_pipeline("digits", [*micro_settings, "search.study={sampler: evolution, tournament: 50, population: 10}"])


@pytest.mark.slow
def test_students_of_a_supernet_are_ranked_by_val_and_go_on_from_their_part(
    micro_settings: list[str], workspace: Path, tmp_path: Path
) -> None:
    nested = "nested: {depths: [1], width_shares: [0.25, 0.5, 1.0], width_step: 8}"
    sets = [f"search.supernet={{epochs: 2, count: 6, {nested}}}", "search.measure=3",
            "search.race={students: 2, share: 0.3, factor: 2}", "distill.epochs=4"]  # fmt: skip
    pipeline = load_pipeline("digits", [*micro_settings, *sets])
    (built,) = build(pipeline, workspace=workspace, out=tmp_path)
    found = built.report["search"]
    assert found["rank"] == ["held-out"]
    rows = found["shortlist"]
    assert [row["held-out"] for row in rows] == sorted((row["held-out"] for row in rows), reverse=True)
    assert built.report["distillation"]["training"]["first"] == "supernet"


def test_a_supernet_and_another_start_exclude_each_other(micro_settings: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"search\.supernet: students start from it as it is; leave distill\.start"):
        load_pipeline("digits", [*micro_settings, "search.supernet={}", "distill.start=teacher"])
    with pytest.raises(ConfigError, match="supernet and study are two ways to candidates"):
        load_pipeline("digits", [*micro_settings, "search.supernet={}", "search.study={}"])


@pytest.mark.slow
def test_a_score_that_is_not_defined_is_the_worst_there_is(
    micro_settings: list[str], workspace: Path, tmp_path: Path
) -> None:
    """DisWOT's semantic term asks for the teacher's last width, which no student of this space has."""
    sets = [
        "search.rank=[diswot, params]",
        "search.race.students=0",
        "search.study={sampler: random, trials: 2, batch: 2}",
    ]
    told = find_student(load_pipeline("digits", [*micro_settings, *sets]), out=tmp_path / "out", workspace=workspace)
    assert [row["diswot"] for row in told["shortlist"]] == [None]
