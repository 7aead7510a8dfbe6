"""A build of several targets: one student, each device's own dialect, files and verdicts; a page that compares them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekd.api import build, plan, rebuild
from edgekd.cli.build import exit_code
from edgekd.deploy.bundle import Built
from edgekd.engine.digest import digest_folder
from edgekd.engine.events import Silent
from edgekd.errors import SomeTargetsFailedError
from edgekd.pipeline import Pipeline

pytest.importorskip("ethosu", reason="needs edgekd[litert]")
pytest.importorskip("tflite_micro", reason="needs edgekd[litert]")
pytestmark = pytest.mark.slow
HERE = str(Path(__file__).parent / "one-runtime.yaml")
ELSEWHERE = ("ethos-u55-128", "cortex-m7")


class Count(Silent):
    def __init__(self) -> None:
        self.ran: list[str] = []
        self.sentences: list[str] = []

    def finished(self, stage: str, at: str, outcome: str, seconds: float) -> None:
        if outcome == "ran":
            self.ran.append(stage)

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An Ethos-U whose system configuration Vela does not know."""
    from importlib.resources import files

    text = (files("edgekd") / "hw_profiles" / "ethos-u55-128.yaml").read_text("utf-8")
    path = tmp_path_factory.mktemp("profiles") / "broken.yaml"
    path.write_text(
        text.replace("Ethos_U55_High_End_Embedded", "None_Such").replace("name: ethos-u55-128", "name: broken")
    )
    return str(path)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dist")


@pytest.fixture(scope="module")
def told(
    micro: Pipeline, built: Built, workspace: Path, out: Path, broken: str
) -> tuple[SomeTargetsFailedError, Count]:
    """What a build says of which one target is broken; its student is there already."""
    listener = Count()
    with pytest.raises(SomeTargetsFailedError, match="target broken: exporter ethos-u: Vela") as caught:
        build(micro, targets=(HERE, broken, *ELSEWHERE), workspace=workspace, out=out, listener=listener)
    return caught.value, listener


def test_all_targets_take_one_student_and_one_quantised_graph_a_dialect(
    told: tuple[SomeTargetsFailedError, Count],
) -> None:
    _, listener = told
    assert not {"teacher.train", "search.score", "distill.float"} & set(listener.ran)
    # of student and teacher, for three devices of one dialect; fewer where another test has asked for one before
    assert listener.ran.count("quant.ptq") <= 2


def test_one_target_that_fails_is_named_and_leaves_the_others_as_they_were(
    told: tuple[SomeTargetsFailedError, Count], micro: Pipeline, workspace: Path, out: Path, tmp_path: Path
) -> None:
    error, listener = told
    assert list(error.failed) == ["broken"]
    assert [one.target for one in error.done] == ["local-cpu", *ELSEWHERE]
    assert any(sentence.startswith("failed: broken: ") for sentence in listener.sentences)
    assert not (out / "digits" / "broken").exists()
    assert exit_code(error.done, "pass", some_failed=True) == 6
    build(micro, targets=(HERE, *ELSEWHERE), workspace=workspace, out=tmp_path)
    for name in ("local-cpu", *ELSEWHERE):
        assert digest_folder("bundle", out / "digits" / name) == digest_folder("bundle", tmp_path / "digits" / name)


def test_each_bundle_has_what_its_device_takes_and_its_own_proof(
    told: tuple[SomeTargetsFailedError, Count], out: Path
) -> None:
    npu, mcu = (out / "digits" / name for name in ELSEWHERE)
    assert (npu / "model_vela.tflite").is_file()
    assert (mcu / "model_data.cc").is_file()
    for folder in (npu, mcu):
        report = json.loads((folder / "report.json").read_text("utf-8"))
        own = report["variants"][report["shipped"]]
        assert report["student_of"] == "local-cpu"
        assert own["parity"]["top1_agreement"] >= 0.98
        assert own["accuracy_test_percent"]["n"] == 4500
        assert not (folder / "run.py").exists()
    costs = json.loads((npu / "report.json").read_text("utf-8"))["variants"]["int8"]["costs"]
    assert costs["latency_kind"] == "estimated"
    assert costs["cycles"] > 0
    limits = {row["limit"] for row in json.loads((mcu / "report.json").read_text("utf-8"))["verdicts"]}
    assert {"flash_kib", "ram_kib", "size_mib"} <= limits


def test_one_page_compares_the_targets_each_latency_with_its_kind(
    told: tuple[SomeTargetsFailedError, Count], out: Path
) -> None:
    rows = json.loads((out / "digits" / "targets.json").read_text("utf-8"))
    kinds = {row["target"]: row["latency_kind"] for row in rows["targets"]}
    assert kinds == {"local-cpu": "measured", "ethos-u55-128": "estimated", "cortex-m7": "none"}
    assert rows["failed"]["broken"]["exit_code"] in (2, 6)
    page = (out / "digits" / "targets.md").read_text("utf-8")
    assert "| broken | failed |" in page
    assert "ms estimated" in page


def test_a_plan_of_a_device_elsewhere_shows_what_is_there(
    told: tuple[SomeTargetsFailedError, Count], micro: Pipeline, workspace: Path
) -> None:
    steps = plan(micro, targets=(HERE, *ELSEWHERE), workspace=workspace)
    assert list(steps) == [HERE, *ELSEWHERE]
    assert all(step.cached for row in steps.values() for step in row)


def test_a_lock_of_a_device_elsewhere_makes_the_same_files_again(
    told: tuple[SomeTargetsFailedError, Count], workspace: Path, out: Path, tmp_path: Path
) -> None:
    first = out / "digits" / "ethos-u55-128"
    again = rebuild(first / "edgekd.lock", workspace=workspace, out=tmp_path).folder
    for name in ("model_vela.tflite", "model.tflite", "estimate.json"):
        assert (again / name).read_bytes() == (first / name).read_bytes()
