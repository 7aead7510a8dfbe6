"""A farm: devices by name, one job on each at a time, several at once; two real sshds on loopback stand for them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.board import Board, needs_sshd, started
from helpers.comparisons import comparison, figures, stored
from helpers.gate import ONLY_ANSWERS, QUICK, states
from typer.testing import CliRunner

from edgekd.cli.app import app
from edgekd.cli.options import profile_at
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError, DeviceLostError, UnavailableError
from edgekd.gate.limits import Limits
from edgekd.gate.run import check
from edgekd.hardware.here import narrowed
from edgekd.hardware.measure import result
from edgekd.hardware.profile import load_profile, only, this_cpu
from edgekd.hardware.remote import farm
from edgekd.hardware.remote.compare import check_same
from edgekd.hardware.remote.device import remote_device
from edgekd.hardware.remote.farm import Reached, at_once, persistently, reached, several
from edgekd.hardware.where import cpu_of
from edgekd.measuring import measure

FARM = """
schema: 1
devices:
  pi5: {address: "ssh://pi@10.0.0.7:2222", profile: rpi5, runtime: litert}
  gateway: {address: "ssh://gateway", profile: gateway.yaml}
"""
EMULATED = "is an emulator, whose times say nothing of a device: budgets, gates and search refuse them"


@pytest.fixture
def two(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Board, Board]]:
    """Two devices, and the working folder's devices.yaml of both."""
    with started(tmp_path / "second", board) as other:
        (tmp_path / "devices.yaml").write_text(
            "schema: 1\ndevices:\n"
            f"  one: {{address: '{board.address}', profile: {QUICK}}}\n"
            f"  two: {{address: '{other.address}', profile: {QUICK}}}\n",
            "utf-8",
        )
        monkeypatch.chdir(tmp_path)
        yield board, other


def test_a_device_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text(FARM, "utf-8")
    assert reached("pi5", path) == Reached("pi5", "ssh://pi@10.0.0.7:2222", "rpi5", "litert")
    assert reached("gateway", path).profile == str(tmp_path / "gateway.yaml")
    assert reached("ssh://pi") == Reached("ssh://pi", "ssh://pi")
    assert reached("local").address is None
    monkeypatch.setenv("EDGEKD_DEVICES", str(path))
    assert reached("pi5").address == "ssh://pi@10.0.0.7:2222"


def test_a_name_that_is_in_no_farm_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--device pi5: .*devices\.yaml is not there.*write the address itself"):
        reached("pi5", tmp_path / "devices.yaml")
    (tmp_path / "devices.yaml").write_text(FARM, "utf-8")
    with pytest.raises(ConfigError, match=r"--device pi4: not in .*devices\.yaml, which has pi5, gateway"):
        reached("pi4", tmp_path / "devices.yaml")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ('"ssh://pi:secret@host"', r"devices\.yaml:4: devices\.pi5\.address: 'ssh://pi:\.\.\.@host'"),
        ('"-oProxyCommand=x"', r"devices\.yaml:4: devices\.pi5\.address: .*write it as ssh://"),
    ],
)
def test_an_address_in_a_farm_is_checked_as_one_on_the_command_line(tmp_path: Path, changed: str, says: str) -> None:
    (tmp_path / "devices.yaml").write_text(FARM.replace('"ssh://pi@10.0.0.7:2222"', changed), "utf-8")
    with pytest.raises(ConfigError, match=says) as caught:
        reached("pi5", tmp_path / "devices.yaml")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("command", ["build", "search"])
@pytest.mark.parametrize(
    ("runtime", "says"),
    [
        ("openvino", r"device rpi5: no runtime 'openvino'; it has: onnxruntime .*, litert"),
        ("litert", r"device rpi5: with litert alone nothing can be built.*leave `runtime: litert` out"),
    ],
)
def test_a_farms_runtime_that_cannot_be_built_for_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, runtime: str, says: str
) -> None:
    (tmp_path / "devices.yaml").write_text(FARM.replace("runtime: litert", f"runtime: {runtime}"), "utf-8")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [command, "digits", "--device", "pi5"])
    assert isinstance(done.exception, ConfigError)
    assert re.match(says, str(done.exception))


@pytest.mark.parametrize("words", [["profile"], ["check", "--baseline", "model.onnx"]])
def test_a_farms_runtime_is_the_one_that_opens_files_unless_another_is_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """A bundle is run as its manifest says, as everywhere."""
    (tmp_path / "devices.yaml").write_text(FARM, "utf-8")
    monkeypatch.chdir(model.parent)
    done = CliRunner().invoke(app, [*words, "model.onnx", "--device", "pi5"])
    assert str(done.exception) == "device rpi5: no runtime opens .onnx files; it has: litert (.tflite)"
    place = reached("pi5")
    assert profile_at(place, "local-cpu", None) == only(load_profile("rpi5"), ["litert"])
    assert profile_at(place, "local-cpu", "onnxruntime") == load_profile("rpi5")
    assert profile_at(place, "x86", "onnxruntime") == load_profile("x86")


def test_a_build_takes_of_a_devices_runtimes_the_one_that_the_farm_names() -> None:
    shipped = load_profile("local-cpu")
    assert [spec.name for spec in shipped.runtimes] == ["onnxruntime", "openvino", "litert"]
    assert narrowed(shipped, "openvino") == only(shipped, ["openvino"])
    assert narrowed(shipped, None) == shipped
    compiled = load_profile("ethos-u55-128")  # beside the device that the farm has
    assert narrowed(compiled, "openvino") == compiled


def test_one_device_by_two_names_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--device ssh://pi/: is the same as ssh://pi .*one job at a time"):
        several(["ssh://pi", "ssh://pi/"])


def test_jobs_run_at_once_and_one_that_fails_leaves_the_others() -> None:
    """Both reach the barrier only if neither waits for the other to be done."""
    together, said = threading.Barrier(2, timeout=10), list[str]()

    def dies() -> int:
        together.wait()
        raise DeviceLostError("ssh://two: the connection was lost")

    jobs: dict[str, Callable[[], int]] = {"one": together.wait, "two": dies}
    done, failed = at_once(jobs, said.append)
    assert list(done) == ["one"]
    assert str(failed["two"]) == "ssh://two: the connection was lost"
    assert said == ["one: done", "two: failed: ssh://two: the connection was lost"]


def script(*errors: Exception | None) -> Callable[[], str]:
    left = iter(errors)

    def job() -> str:
        if error := next(left):
            raise error
        return "done"

    return job


LOST, AWAY = DeviceLostError("ssh://pi: the connection was lost"), UnavailableError("ssh://pi: Connection refused")


def test_a_device_that_dies_is_tried_again_also_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farm, "PAUSES_S", (0.0, 0.0))
    said = list[str]()
    assert persistently(script(LOST, AWAY, None), said.append) == "done"
    assert said == [f"{LOST}; once more in 0 s", f"{AWAY}; once more in 0 s"]


def test_a_device_that_stays_away_is_reported_with_the_number_of_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farm, "PAUSES_S", (0.0, 0.0))
    with pytest.raises(DeviceLostError, match=r"was lost; then ssh://pi: Connection refused \(given up after 3"):
        persistently(script(LOST, AWAY, AWAY), lambda _: None)


def test_what_another_try_does_not_mend_is_told_at_once() -> None:
    with pytest.raises(UnavailableError, match=r"Connection refused$"):
        persistently(script(AWAY, None), lambda _: None)


@needs_sshd
@pytest.mark.slow
def test_several_devices_are_profiled_at_once_into_one_table(two: tuple[Board, Board], model: Path) -> None:
    done = CliRunner().invoke(app, ["profile", str(model), "--device", "one", "--device", "two", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {name: row["comparison"]["kind"] for name, row in told["devices"].items()} == dict.fromkeys(
        ("one", "two"), "measured"
    )
    assert told["failed"] == {}
    asked = ["check", str(model), "--baseline", str(model), "--device", "one", "--max-memory-growth", "none", "--json"]
    done = CliRunner().invoke(app, asked)
    assert json.loads(done.stdout)["comparison"]["noise"]["load_average"] is None  # which is told of this machine alone
    assert [each.left() for each in two] == [[], []]


@needs_sshd
@pytest.mark.slow
def test_a_device_that_died_is_reported_and_the_others_are_measured(
    two: tuple[Board, Board], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farm, "PAUSES_S", (0.0,))
    two[1].instead_of("python3", "#!/bin/sh\nkill -9 $(ps -o ppid= -p $PPID)\n")  # the connection's own server
    done = CliRunner().invoke(app, ["profile", str(model), str(model), "--device", "one", "--device", "two"])
    assert done.exit_code == 6, done.output
    assert "two failed: " in done.stdout
    assert "given up after 2 tries" in done.stdout
    assert "measured" in done.stdout


@needs_sshd
@pytest.mark.slow
def test_a_run_whose_device_dies_once_is_done_by_another_try(
    board: Board, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = str(board.address)
    board.dies_once(monkeypatch, "launch")
    assert measure(model, QUICK, device=there).comparison.kind == "measured"
    board.dies_once(monkeypatch, "answers")
    assert (
        states(check(model, model, data=data, limits=ONLY_ANSWERS, profile=QUICK, device=there))["accuracy"] == "pass"
    )
    assert board.left() == []


@needs_sshd
@pytest.mark.slow
def test_the_times_of_an_emulator_are_shown_as_such_and_nothing_is_decided_by_them(
    board: Board, model: Path, data: Path, tmp_path: Path
) -> None:
    """Its kernel is of another kind than its Python says: here the kernel's `uname` lies instead."""
    board.instead_of("uname", "#!/bin/sh\necho aarch64\n")
    there = str(board.address)
    assert measure(model, QUICK, device=there).comparison.kind == "emulated"
    with pytest.raises(UnavailableError, match=EMULATED):
        check(model, model, data=data, profile=QUICK, device=there)
    with pytest.raises(UnavailableError, match=EMULATED):
        cpu_of(load_profile("local-cpu"), there)
    with remote_device(board.address, ()) as lying, pytest.raises(UnavailableError, match=EMULATED):
        check_same(lying, lying.place.cpu, {})  # which stands before every stage of a build there
    answers = check(model, model, data=data, limits=ONLY_ANSWERS, profile=QUICK, device=there)
    assert states(answers)["accuracy"] == "pass"


def test_a_profile_that_says_it_is_emulated_decides_nothing_either(model: Path) -> None:
    profile = load_profile("local-cpu").model_copy(update={"emulated": True})
    with pytest.raises(UnavailableError, match=f"device local-cpu: {EMULATED}"):
        cpu_of(profile, None)
    with pytest.raises(UnavailableError, match=f"device local-cpu: {EMULATED}"):
        check(model, model, profile=profile, limits=Limits(memory_growth_percent=None))
    with pytest.raises(UnavailableError, match=f"device local-cpu: {EMULATED}"):
        this_cpu(profile)  # of whatever else decides by times taken here: export, sparsity, texts


def test_a_comparison_of_an_emulator_is_refused_wherever_one_is_read(tmp_path: Path) -> None:
    """What a search and a choice of variants read."""
    made = comparison({"a": figures()}, {}).model_copy(update={"kind": "emulated"})
    artifact: Artifact = stored(tmp_path, made)
    with pytest.raises(UnavailableError, match="latency: emulated, which says nothing of a device"):
        result.read(artifact)
