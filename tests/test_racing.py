"""Candidates are distilled for a while before one of them is chosen: what they learn counts, not how large they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekd.api import build
from edgekd.cli import search as command
from edgekd.engine.events import Progress, Silent
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.pipeline import Pipeline, load_pipeline
from edgekd.racing import lengths
from edgekd.report import search_page, searched
from edgekd.search.choose import run_round
from edgekd.search.stages import Round
from edgekd.spending import spent


def racing(epochs: int = 60, **more: object) -> Pipeline:
    sets = [f"distill.epochs={epochs}", *(f"search.race.{name}={value}" for name, value in more.items())]
    return load_pipeline("digits", sets)


def test_each_round_has_a_third_of_the_students_for_three_times_as_long() -> None:
    assert list(lengths(racing())) == [(12, 3), (4, 9)]
    assert list(lengths(racing(rounds=3))) == [(12, 3), (4, 9)]  # one student is no race
    assert list(lengths(racing(students=30, factor=2, rounds=4))) == [(30, 3), (15, 6), (8, 12), (4, 24)]


def test_no_round_is_as_long_as_the_training_itself_nor_as_the_one_before() -> None:
    assert list(lengths(racing(epochs=1))) == []
    assert list(lengths(racing(epochs=5))) == [(12, 1)]
    assert list(lengths(racing(students=0))) == []


def test_a_round_keeps_the_best_on_val_and_says_what_all_reached(tmp_path: Path) -> None:
    rows = [{"id": name, "shape": {}} for name in "abcd"]
    (tmp_path / "candidates.json").write_text(json.dumps({"candidates": rows}), "utf-8")
    inputs = {"candidates": Artifact("candidates", "c", tmp_path)}
    for name, right in {"a": 5, "b": 9, "c": 9}.items():  # d was not distilled
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps({"right": right, "n": 10}), "utf-8")
        inputs[f"val.{name}"] = Artifact("predictions", name, tmp_path / name)
    run_round(Round(epochs=1, keep=2), inputs, Work(tmp_path, tmp_path, Progress(Silent())))
    said = json.loads((tmp_path / "candidates.json").read_text("utf-8"))
    assert [row["id"] for row in said["candidates"]] == ["b", "c"]
    assert said["tried"] == {"a": 50.0, "b": 90.0, "c": 90.0}


def scored(params: list[int]) -> dict[str, dict[str, object]]:
    rows = [{"id": f"c{n}", "scores": {"macs": 1, "params": p, "synflow": -p}} for n, p in enumerate(params)]
    return {row["id"]: row for row in rows}  # type: ignore[misc]


def test_the_ranking_is_held_against_the_number_of_parameters() -> None:
    by_id = scored(list(range(14)))
    tried = {f"c{n}": 50.0 + n for n in range(14)}  # larger nets learnt more
    assert (
        "orders students worse than the number of parameters" in searched.worth(tried, by_id, ["synflow"])["sentence"]
    )
    assert "not told apart from" in searched.worth(tried, by_id, ["params"])["sentence"]
    better = {f"c{n}": 50.0 - n for n in range(14)}
    assert "orders students better than" in searched.worth(better, by_id, ["synflow"])["sentence"]


def test_of_few_short_distillations_nothing_is_said_of_a_score() -> None:
    said = searched.worth({f"c{n}": 50.0 + n for n in range(11)}, scored(list(range(11))), ["synflow"])
    assert said["sentence"].startswith("11 short distillations are too few to say whether synflow is better")
    assert said["difference"] is None


def test_the_front_holds_what_none_is_both_faster_and_better_than() -> None:
    rows = [
        {"id": name, "latency_p50_ms": [ms, ms, ms], "val_percent": val and [val, val - 1, val + 1]}
        for name, ms, val in [("a", 1.0, 80.0), ("b", 2.0, 79.0), ("c", 3.0, 90.0), ("d", 1.0, 70.0), ("e", 0.5, None)]
    ]
    assert searched.front(rows) == ["a", "c"]
    # to the right of 1 ms 80 %, and 90 % beyond 3 ms, of a teacher that takes 4
    found = searched.covered(rows, 4.0)
    assert found is not None
    assert found["share"] == pytest.approx((2 * 80 + 1 * 90) / 400)


def test_what_initialisation_alone_does_to_a_score_is_held_against_what_candidates_are_apart() -> None:
    rows = [{"id": n, "scores": {"zen": mean, "diswot": None}, "noise": {"zen": own}}
            for n, mean, own in [(0, 1.0, 0.5), (1, 3.0, 0.1), (2, 5.0, 0.3)]]  # fmt: skip
    assert searched.noise(rows) == {"zen": 0.15}
    assert searched.noise(rows[::-1]) == {"zen": 0.15}
    assert searched.noise([{"id": 0, "scores": {"zen": 1.0}}]) == {}


def test_what_the_first_candidate_has_no_score_for_has_noise_all_the_same() -> None:
    rows: list[dict[str, object]] = [{"id": 0, "scores": {"diswot": None}, "noise": {}}]
    rows += [{"id": n, "scores": {"diswot": float(n)}, "noise": {"diswot": 0.5}} for n in (1, 2, 3)]
    assert searched.noise(rows) == {"diswot": 0.5}


def test_a_place_is_told_with_those_that_initialisation_alone_would_give() -> None:
    """Of 9, 7, 5, 3 the 5 is third; with 3 more it is second after the 9, with 3 less last; nobody else moves."""
    rows = [{"id": n, "scores": {"zen": 9.0 - 2 * n, "params": n}, "noise": {"zen": 3.0}} for n in range(4)]
    assert searched.within(rows[2], rows) == {"zen": [2, 4]}
    assert searched.within(rows[0], rows) == {"zen": [1, 2]}
    assert searched.within({**rows[2], "noise": {"zen": 0.0}}, rows) == {"zen": [3, 3]}
    assert searched.within({"id": 2, "scores": {"zen": 5.0}}, rows) == {}
    row = {"zen": 5.0, "params": 2, "diswot": None, "places": {"zen": 3, "params": 2}, "places_within": {"zen": [2, 4]}}
    assert [search_page._place(row, name) for name in ("zen", "params", "diswot")] == ["3 (2 to 4)", "2", "undefined"]


def test_a_search_is_held_against_distilling_all_of_its_candidates(micro: Pipeline) -> None:
    """Five short distillations of 2 of 40 epochs, 10 s on the mean, of nets three times as large as all on the mean."""
    plan = micro.distill.model_copy(update={"epochs": 40})
    longer = micro.model_copy(update={"distill": plan, "search": micro.search.model_copy(update={"measure": 12})})
    took = [("search.score", "", 14.0), ("measure.compare", "local-cpu/candidates", 6.0), ("onnx.fp32", "", 99.0)]
    took += [("distill.float", f"local-cpu/c{n}/round 1", 8.0 + n) for n in range(5)]
    took += [("distill.float", "local-cpu/c1/round 2", 30.0)]
    macs = {f"c{n}": 3e6 for n in range(5)} | {f"c{n}": 0.5e6 for n in range(5, 25)}
    found = spent(took, longer, macs, 200)
    assert found["seconds"] == {"scores": 14.0, "latencies": 6.0, "short distillations": 80.0}
    assert found["total_s"] == 100
    assert found["all_trained_s"] == pytest.approx(200 * 200 / 3, abs=1)
    assert found["times_less"] == pytest.approx(400 / 3)
    assert spent(took[:3], longer, macs, 200)["all_trained_s"] is None
    assert spent(took, longer, {"of another study": 1e6}, 200)["all_trained_s"] is None


@pytest.mark.slow
def test_a_build_ships_the_winner_of_the_race(
    micro_settings: list[str], workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [
        "search.inits=2",
        "search.measure=3",
        "search.race={students: 3, share: 0.3, factor: 1.5}",
        "distill.epochs=4",
    ]
    pipeline = load_pipeline("digits", [*micro_settings, *sets])
    (built,) = build(pipeline, workspace=workspace, out=tmp_path)
    search = built.report["search"]
    first, second = search["rounds"]
    assert (first["epochs"], len(first["val_percent"])) == (1, 3)
    assert (second["epochs"], len(second["val_percent"])) == (2, 2)
    assert search["chosen"] == max(second["val_percent"], key=second["val_percent"].get)
    text = (built.folder / "report.md").read_text("utf-8")
    assert "Round 2: 2 students, 2 epochs each." in text
    assert "Hypervolume: 0." in text
    assert search["cost"]["seconds"]["short distillations"] > 0
    assert f"Distilling all {search['tried']} candidates would take about" in text
    assert "3 short distillations are too few to say" in text
    assert search_page.plot(search).count("<circle") == 3
    assert all(set(row["places_within"]) == set(row["noise"]) > {"snip"} for row in search["shortlist"])
    assert "of what candidates are apart: params 0.00" in text
    command._show({"pipeline": "digits", "target": "cpu"} | search, tmp_path)
    printed = capsys.readouterr().out
    for name, percent in first["val_percent"].items():
        assert name in printed
        assert f"{percent:.1f}" in printed
