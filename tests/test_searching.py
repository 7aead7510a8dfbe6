"""`edgekd search`: a student, and everything that spoke for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd import find_student
from edgekd.api import build
from edgekd.distilling import student_shape
from edgekd.engine.store import Store
from edgekd.errors import BudgetError, ConfigError
from edgekd.pipeline import Pipeline, load_pipeline


@pytest.mark.slow
def test_a_search_leaves_a_shape_that_can_be_distilled_and_a_build_goes_on_from_it(
    micro: Pipeline, workspace: Path, tmp_path: Path
) -> None:
    told = find_student(micro, out=tmp_path / "search", workspace=workspace)
    assert student_shape(str(tmp_path / "search" / "student.yaml")).model_dump(mode="json") == told["shape"]
    assert json.loads((tmp_path / "search" / "search.json").read_text("utf-8")) == told
    text = (tmp_path / "search" / "search.md").read_text("utf-8")
    assert f"Search: {told['chosen']} of 8 candidates, 1 measured" in text
    assert told["worth"] is None  # one candidate is no race
    (built,) = build(micro, workspace=workspace, out=tmp_path / "dist")
    assert built.report["search"]["shape"] == told["shape"]


def test_a_space_of_code_is_not_run_unasked(micro_settings: list[str], tmp_path: Path) -> None:
    (tmp_path / "space.py").write_text("raise SystemExit('it ran')\n", "utf-8")
    sets = [s for s in micro_settings if "search.space" not in s]
    pipeline = load_pipeline("digits", [*sets, f"search.space={{name: code, path: {tmp_path / 'space.py'}}}"])
    with pytest.raises(ConfigError, match=r"space\.py: is code, which edgekd runs only with --allow-code"):
        find_student(pipeline, out=tmp_path / "out", workspace=tmp_path / "w")


@pytest.mark.slow
def test_a_budget_that_nothing_can_meet_is_said_before_anything_is_measured(
    micro_settings: list[str], workspace: Path, tmp_path: Path
) -> None:
    pipeline = load_pipeline("digits", [*micro_settings, "budget={size_mib: 0.001}"])
    store = Store(workspace)
    before = [store.keys(stage) for stage in ("search.candidate", "measure.compare")]
    with pytest.raises(BudgetError, match=r"none of 8 candidates can meet the budget.*MiB as int8, over 0\.001"):
        find_student(pipeline, out=tmp_path / "out", workspace=workspace)
    assert not (tmp_path / "out").exists()
    assert [store.keys(stage) for stage in ("search.candidate", "measure.compare")] == before


@pytest.mark.slow
def test_the_command_prints_the_table_and_where_the_student_is(
    micro_settings: list[str], workspace: Path, tmp_path: Path
) -> None:
    find_student(load_pipeline("digits", micro_settings), out=tmp_path / "first", workspace=workspace)
    sets = [part for setting in micro_settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "edgekd", "search", "digits", "--workspace", str(workspace), *sets]
    done = subprocess.run([*command, "--out", "found"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "p50 ms" in done.stdout
    assert "found/student.yaml" in done.stdout
    told = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert json.loads(told.stdout) == json.loads((tmp_path / "found" / "search.json").read_text("utf-8"))
