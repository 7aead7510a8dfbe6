"""The command line: one sentence and an exit code for each mistake, never a traceback."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.budget import State, Verdict
from edgekd.cli.build import exit_code
from edgekd.cli.console import parse_duration
from edgekd.deploy.bundle import Built
from edgekd.units import duration


def edgekd(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgekd", *arguments], capture_output=True, text=True, check=False, env=os.environ | env
    )


def spent_s() -> float:
    """CPU time of the processes that were started from here: what else the machine does is not in it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_has_examples_and_comes_at_once() -> None:
    seconds = []
    for _ in range(5):
        before = spent_s()
        done = edgekd("--help")
        seconds.append(spent_s() - before)
        assert done.returncode == 0
        assert "build" in done.stdout
    assert min(seconds) < 0.6
    assert "edgekd build digits" in edgekd("build", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["build", "digit"], 2, "edgekd: pipelines: no 'digit'; did you mean 'digits'?"),
        (["build", "nowhere.yaml"], 2, "edgekd: nowhere.yaml: no such file"),
        (["build", "digits", "--set", "distill.epoch=1"], 2, "did you mean 'epochs'?"),
        (["build", "digits", "--target", "rpi6"], 2, "edgekd: devices: no 'rpi6'"),
        (["build", "digits", "--inconclusive", "maybe"], 2, "pass or fail"),
        (["build", "digits", "--time-budget", "soon"], 2, "write it like 90s, 8m or 1h30m"),
        (["devices", "show", "local-gpu"], 2, "did you mean 'local-cpu'?"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_exit_code(
    arguments: list[str], code: int, says: str, tmp_path: Path
) -> None:
    done = edgekd(*arguments, EDGEKD_HOME=str(tmp_path / "home"), COLUMNS="300")
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "home").exists()  # nothing half-written


def test_a_traceback_is_there_for_who_asks() -> None:
    assert "Traceback" in edgekd("build", "digit", "-vv").stderr


def test_a_workspace_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = edgekd("build", "digits", "--workspace", str(tmp_path / "file"))
    assert done.returncode == 6
    assert str(tmp_path / "file") in done.stderr
    assert "--workspace" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_lists_name_what_ships_in_words_and_in_json() -> None:
    assert "digits" in edgekd("pipelines", "list").stdout
    assert "local-cpu" in edgekd("devices", "list").stdout
    assert json.loads(edgekd("pipelines", "list", "--json").stdout)[0]["name"] == "digits"
    shown = json.loads(edgekd("devices", "show", "local-cpu", "--json").stdout)
    assert shown["dialects"]["onnxruntime"]["reduced_range"] in (True, False)
    assert "temperature: 4.0" in edgekd("pipelines", "show", "digits").stdout


def built(*states: tuple[str, State]) -> Built:
    rows = tuple(Verdict(limit=name, bound=1, value=1, low=1, high=1, state=state) for name, state in states)
    return Built("cpu", Path(), {}, rows)


@pytest.mark.parametrize(
    ("done", "inconclusive", "code"),
    [
        ([built(("size_mib", "pass"))], "fail", 0),
        ([built(("size_mib", "fail"))], "pass", 4),
        ([built(("size_mib", "fail"), ("accuracy_drop_points", "fail"))], "pass", 3),
        ([built(("size_mib", "inconclusive"))], "pass", 0),
        ([built(("size_mib", "inconclusive"))], "fail", 5),
        ([built(("size_mib", "pass")), built(("size_mib", "fail"))], "pass", 4),
    ],
)
def test_exit_codes_are_the_documented_ones(done: list[Built], inconclusive: str, code: int) -> None:
    assert exit_code(done, inconclusive) == code


def test_durations_are_read_and_written_alike() -> None:
    assert [parse_duration(text) for text in ("90", "90s", "8m", "1h30m")] == [90, 90, 480, 5400]
    assert [duration(s) for s in (0.52, 41, 200, 7500)] == ["0.5 s", "41 s", "3 min 20 s", "2 h 5 min"]
