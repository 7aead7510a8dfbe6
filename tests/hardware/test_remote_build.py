"""A build that is measured on a device, and whose accuracy is of what the device answers."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.board import Board, delayed, needs_sshd
from helpers.gate import ONLY_ANSWERS, QUICK, X, states, worse
from safetensors.numpy import load_file
from typer.testing import CliRunner

from edgekd import find_student
from edgekd.api import build
from edgekd.budget import TEACHER
from edgekd.cli.app import app
from edgekd.deploy.bundle import Built
from edgekd.engine.store import Store
from edgekd.errors import ConfigError, UnavailableError
from edgekd.gate.run import check
from edgekd.hardware.answering import Feeds, predict
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.profile import load_profile
from edgekd.hardware.remote import device
from edgekd.hardware.remote.answers import ANSWERS, Answers, Refused, read_answer
from edgekd.hardware.remote.compare import check_same
from edgekd.hardware.remote.device import RemoteDevice, remote_device
from edgekd.hardware.runtime import open_session
from edgekd.pipeline import Pipeline, load_pipeline

HERE = str(Path(__file__).parent.parent / "one-runtime.yaml")
OTHERWISE = """#!{python}
import base64, json, subprocess, sys
import numpy as np
open({log!r}, "a").write(sys.argv[2] + "\\n")
asked = sys.stdin.read()
done = subprocess.run([{python!r}, *sys.argv[1:]], input=asked, capture_output=True, text=True)
told = json.loads(done.stdout)
if sys.argv[2] == "answers_worker" and {name!r} in json.loads(asked)["model"]["path"]:
    turned = -np.frombuffer(base64.b64decode(told["data"]), told["dtype"])
    told["data"] = base64.b64encode(turned.tobytes()).decode()
sys.stdout.write(json.dumps(told))
"""
BARE = """#!{python}
import json, subprocess, sys
asked = sys.stdin.read()
done = subprocess.run([{python!r}, *sys.argv[1:]], input=asked, capture_output=True, text=True)
told = json.loads(done.stdout)
told["packages"] = dict.fromkeys(told["packages"])
sys.stdout.write(json.dumps(told))
"""


@needs_sshd
@pytest.mark.slow
def test_a_build_is_measured_on_the_device_and_what_is_slow_there_does_not_ship(
    board: Board, micro: Pipeline, built: Built, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Without the delay int8 ships here; there, with one, the float student does. Nothing is trained again, also where the
    device dies while it answers and while it measures.
    """
    assert built.report["shipped"].startswith("int8")
    loose = micro.model_copy(update={"budget": micro.budget.model_copy(update={"size_mib": None})})
    delayed(board, built.report["shipped"])
    board.dies_once(monkeypatch, "answers")
    board.dies_once(monkeypatch, "launch")
    (there,) = build(loose, targets=(HERE,), workspace=workspace, out=tmp_path, device=str(board.address))
    assert there.report["shipped"] == "fp32"
    assert there.report["measurement"]["kind"] == "measured"
    stages = {row["stage"] for row in json.loads((there.folder / "edgekd.lock").read_text("utf-8"))["rows"]}
    assert {"measure.compare.there", "evaluate.there"} <= stages
    assert not {"measure.compare", "evaluate"} & stages
    *_, record = Store(workspace).records("evaluate.there")
    kept = load_file(workspace / "objects" / record["digest"] / "predictions.safetensors")
    assert len(kept["right"]) == 4500
    assert board.left() == []


@needs_sshd
@pytest.mark.slow
def test_a_study_measures_on_the_device_whose_times_decide_what_is_kept(
    board: Board, micro_settings: list[str], workspace: Path, tmp_path: Path
) -> None:
    """The teacher's float file is slow there and nowhere else: everything is twenty times as fast as it."""
    delayed(board, TEACHER)
    sets = [*micro_settings, "search.study={sampler: random, trials: 4, batch: 2}", "search.race.students=0",
            "budget={speedup_over_teacher: 20}"]  # fmt: skip
    asked = load_pipeline("digits", sets)
    find_student(asked, target=HERE, out=tmp_path / "out", workspace=workspace, device=str(board.address))
    *_, record = Store(workspace).records("search.study")
    rows = json.loads((workspace / "objects" / record["digest"] / "scores.json").read_text("utf-8"))["candidates"]
    assert {kind for row in rows for kind in row["latency_kind"].values()} == {"measured"}
    assert all(row["keeps"]["local-cpu"] for row in rows)
    assert board.left() == []


def test_a_device_of_another_kind_or_address_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="write it as ssh://user@host:port"):
        build("digits", workspace=tmp_path / "w", out=tmp_path, device="pi")
    with pytest.raises(UnavailableError, match="device intel-npu: edgekd measures CPUs over ssh, and this is a npu"):
        build("digits", targets=("intel-npu",), workspace=tmp_path / "w", out=tmp_path, device="ssh://pi")


@needs_sshd
@pytest.mark.slow
@pytest.mark.parametrize("command", ["build", "search"])
def test_a_device_without_any_of_the_runtimes_is_told_before_anything_is_trained(
    board: Board, tmp_path: Path, command: str
) -> None:
    board.instead_of("python3", BARE.format(python=sys.executable))
    asked = ["digits", "--target", HERE, "--workspace", str(tmp_path / "w"), "--device", str(board.address)]
    done = CliRunner().invoke(app, [command, *asked])
    assert isinstance(done.exception, UnavailableError)
    assert "has none of onnxruntime, which are here; run `python3 -m pip install` of one" in str(done.exception)


@needs_sshd
@pytest.mark.slow
def test_another_processor_or_runtime_than_at_the_beginning_is_refused(board: Board) -> None:
    with remote_device(board.address, ("onnxruntime",)) as there:
        own = {"onnxruntime": str(there.about.packages["onnxruntime"])}
        check_same(there, there.place.cpu, own)
        with pytest.raises(UnavailableError, match=r"onnxruntime is .* now, and was 0\.1 when this began"):
            check_same(there, there.place.cpu, {"onnxruntime": "0.1"})
        with pytest.raises(UnavailableError, match="now, and was another when this began"):
            check_same(there, Cpu(model="another", architecture="x", isa=()), own)


ONE = {"dtype": "float32", "shape": [1, 2], "data": "AAAAAAAAgD8="}  # 0 and 1


def test_answers_come_back_as_they_were() -> None:
    found = read_answer(ANSWERS, "ssh://pi", json.dumps(ONE).encode())
    assert isinstance(found, Answers)
    np.testing.assert_array_equal(found.array, np.array([[0, 1]], np.float32))


@pytest.mark.parametrize(
    "change",
    [{"shape": [1, 3]}, {"shape": [-1, -2]}, {"shape": []}, {"dtype": "object"}, {"data": "not base64!"}, {"more": 1}],
)
def test_answers_of_another_shape_kind_or_schema_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(UnavailableError, match="nothing of it is used"):
        read_answer(ANSWERS, "ssh://pi", json.dumps(ONE | change).encode())


def test_a_refusal_of_the_device_is_told_apart_from_answers() -> None:
    told = read_answer(ANSWERS, "ssh://pi", b'{"error": "no such file", "kind": "ConfigError"}')
    assert isinstance(told, Refused)


@needs_sshd
@pytest.mark.slow
def test_many_samples_are_answered_in_parts_as_they_are_here(
    board: Board, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "AT_ONCE", 300)
    spec = load_profile("local-cpu").runtime()
    with remote_device(board.address, spec.packages) as there:
        found = there.answers(model, spec, Feeds({"x": X}, 64))
    session = open_session(model, spec)
    np.testing.assert_array_equal(found, predict("model.onnx", session, {"x": X}, 64))
    session.close()


def test_answers_of_several_shapes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    there = object.__new__(RemoteDevice)
    there.connection = SimpleNamespace(address="ssh://pi")  # type: ignore[assignment]
    shapes = iter([(3, 2), (1, 4)])
    monkeypatch.setattr(device, "AT_ONCE", 3)
    monkeypatch.setattr(RemoteDevice, "_answers", lambda *_: np.zeros(next(shapes)))
    with pytest.raises(UnavailableError, match="ssh://pi: answers of several shapes; nothing of it is used"):
        there.answers(Path("m.onnx"), load_profile("local-cpu").runtime(), Feeds({"x": np.zeros((4, 1))}))


@needs_sshd
@pytest.mark.slow
def test_answers_to_another_number_of_samples_are_refused(board: Board, model: Path) -> None:
    spec = load_profile("local-cpu").runtime()
    with remote_device(board.address, spec.packages) as there:
        board.instead_of("python3", f"#!/bin/sh\necho '{json.dumps(ONE)}'\n")
        with pytest.raises(UnavailableError, match=r"\[1, 2\] as answers to 1000 samples; nothing of it is used"):
            there.answers(model, spec, Feeds({"x": X}, 64))


@needs_sshd
@pytest.mark.slow
def test_the_gate_judges_what_the_device_answers_and_needs_and_not_what_this_machine_does(
    board: Board, model: Path, data: Path, tmp_path: Path
) -> None:
    """One file under two names; the device's kernels answer otherwise to one of them."""
    other, log = tmp_path / "other.onnx", board.home / "asked"
    shutil.copy(model, other)
    board.instead_of("python3", OTHERWISE.format(python=sys.executable, log=str(log), name=other.name))
    there = check(other, model, data=data, profile=QUICK, device=str(board.address))
    assert states(there)["accuracy"] == "fail"
    assert set(log.read_text("ascii").split()) == {"about", "worker", "alone_worker", "answers_worker"}


@needs_sshd
@pytest.mark.slow
def test_the_gate_holds_on_the_device_what_is_slower_there_and_answers_otherwise(
    board: Board, model: Path, data: Path, tmp_path: Path
) -> None:
    """The same file twice: on a device whose Python delays one of the two, latency fails and accuracy passes."""
    delayed(board, "candidate")
    there = check(model, model, data=data, profile=QUICK, device=str(board.address))
    found = states(there)
    assert found["latency"] == "fail"
    assert (found["accuracy"], found["contract"]) == ("pass", "pass")
    assert there.evaluation is not None
    assert there.evaluation.n == 1000
    lost = check(
        worse(tmp_path / "worse.onnx", 0.3), model, data=data, limits=ONLY_ANSWERS, profile=QUICK,
        device=str(board.address),
    )  # fmt: skip
    assert states(lost)["accuracy"] == "fail"
    assert board.left() == []
