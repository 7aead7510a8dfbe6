"""A real sshd on loopback, with keys and folders of its own, stands for the device."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from helpers.board import TOLD, Board, key, needs_sshd
from pydantic import TypeAdapter

from edgekd.errors import ConfigError, UnavailableError
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.profile import load_profile
from edgekd.hardware.remote.address import AdbAddress, Address, parse_address
from edgekd.hardware.remote.answers import ALONE, WORKER, read_answer
from edgekd.hardware.remote.bounded import run_bounded
from edgekd.hardware.remote.connection import connect
from edgekd.hardware.remote.device import remote_device
from edgekd.measuring import measure

OTHER_PACKAGES = json.dumps(TOLD | {"packages": {"evil": None}})


@needs_sshd
@pytest.mark.slow
def test_a_file_arrives_whole_and_nothing_stays_behind(board: Board, tmp_path: Path) -> None:
    (tmp_path / "model; touch x.onnx").write_bytes(os.urandom(100_000))
    with connect(board.address) as there:
        sent = there.send(tmp_path / "model; touch x.onnx", "m0", "model; touch x.onnx")
        assert Path(sent).read_bytes() == (tmp_path / "model; touch x.onnx").read_bytes()
        assert Path(there.folder).stat().st_mode & 0o777 == 0o700
    assert board.left() == []


@needs_sshd
@pytest.mark.slow
def test_the_runner_says_what_the_device_is_and_what_is_installed(board: Board) -> None:
    with remote_device(board.address, ("onnxruntime",)) as there:
        assert there.about.packages["onnxruntime"]
        assert there.place.cpu.architecture == os.uname().machine
    assert board.left() == []


@needs_sshd
@pytest.mark.slow
def test_a_model_is_measured_there_into_the_record_that_local_measuring_makes(board: Board) -> None:
    path = board.home / "model.onnx"
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 64]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    profile = load_profile("local-cpu")
    quick = profile.measure.model_copy(update={"processes": 2, "rounds": 25, "time_s": 0.2, "warmup_runs": 5})
    found = measure(path, profile.model_copy(update={"measure": quick}), device=str(board.address))
    assert found.comparison.kind == "measured"
    assert found.comparison.processes == 2
    assert found.figures.latency_p50_ms.value > 0
    assert found.comparison.device == cpu()
    assert found.alone.process_peak_mib
    assert found.comparison.noise.load_average is None
    assert board.left() == []


@needs_sshd
@pytest.mark.slow
def test_a_changed_host_key_is_refused_with_what_to_do(board: Board) -> None:
    known = board.home / "known"
    known.write_text(f"{known.read_text('ascii').split()[0]} {key(board.home / 'other')}", "ascii")
    with (
        pytest.raises(UnavailableError, match=r"host key is not the one that is known.*ssh-keygen -R"),
        connect(board.address),
    ):
        pass


@needs_sshd
@pytest.mark.slow
def test_an_unknown_host_is_refused(board: Board) -> None:
    (board.home / "known").write_text("", "ascii")
    with pytest.raises(UnavailableError, match="host key is not known; connect once by hand"), connect(board.address):
        pass


@needs_sshd
@pytest.mark.slow
def test_a_key_that_the_device_does_not_take_is_told(board: Board) -> None:
    (board.home / "authorized").write_text(key(board.home / "other"), "ascii")
    with pytest.raises(UnavailableError, match="takes none of your keys"), connect(board.address):
        pass


@needs_sshd
@pytest.mark.slow
def test_a_host_of_the_persons_configuration_is_reached_with_a_key_that_their_agent_holds(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, key_file = board.home / "ssh_config", board.home / "mine"
    said = subprocess.run(["ssh-agent", "-s", "-a", str(board.home / "agent")], check=True, capture_output=True).stdout
    (pid,) = re.findall(rb"SSH_AGENT_PID=(\d+)", said)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(board.home / "agent"))
        subprocess.run(["ssh-add", "-q", str(key_file)], check=True)
        key_file.unlink()
        host = f"HostName 127.0.0.1\nPort {board.address.port}\nUser {board.address.user}\n"
        config.write_text(f"{config.read_text('ascii')}Host gateway\n{host}", "ascii")
        with connect(parse_address("ssh://gateway")) as there:
            assert Path(there.folder).is_dir()
    finally:
        os.kill(int(pid), signal.SIGTERM)


@needs_sshd
@pytest.mark.slow
def test_nothing_is_asked_of_the_person(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a key's passphrase, here, nor a password or a yes."""
    mine, asked = board.home / "mine", board.home / "asked"
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(mine)], check=True)
    (board.home / "askpass").write_text(f"#!/bin/sh\ntouch {asked}\necho secret\n", "ascii")
    (board.home / "askpass").chmod(0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(board.home / "askpass"))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    with pytest.raises(UnavailableError, match="takes none of your keys"), connect(board.address):
        pass
    assert not asked.exists()


@needs_sshd
@pytest.mark.slow
def test_nothing_listens_on_the_device_whatever_the_persons_configuration_forwards(board: Board) -> None:
    config = board.home / "ssh_config"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config.write_text(f"{config.read_text('ascii')}RemoteForward 127.0.0.1:{port} 127.0.0.1:1\n", "ascii")
    with connect(board.address), socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@needs_sshd
@pytest.mark.slow
def test_every_command_goes_over_the_first_connection_and_none_is_opened_when_it_is_cut(board: Board) -> None:
    shell = board.home / "shell"
    shell.write_text(
        shell.read_text("ascii").replace("#!/bin/sh\n", f'#!/bin/sh\necho "$SSH_CONNECTION" >>{board.home}/ports\n')
    )
    with remote_device(board.address, ()) as there:
        ports = (board.home / "ports").read_text("ascii").splitlines()
        assert len(ports) > 3
        assert len(set(ports)) == 1
        board.cut()
        assert there.connection.run(["true"], subprocess.DEVNULL, 20).code != 0
    assert (board.home / "ports").read_text("ascii").splitlines() == ports


@needs_sshd
@pytest.mark.slow
def test_two_jobs_do_not_share_a_device(board: Board) -> None:
    busy = pytest.raises(UnavailableError, match="busy: another edgekd measures there")
    with connect(board.address), busy, connect(board.address):
        pass
    assert board.left() == []


@needs_sshd
@pytest.mark.slow
def test_a_missing_runtime_is_told_with_what_installs_it(board: Board) -> None:
    with (
        pytest.raises(UnavailableError, match="no-such-runtime not installed there; run `python3 -m pip install"),
        remote_device(board.address, ("no-such-runtime",)),
    ):
        pass
    assert board.left() == []


@needs_sshd
@pytest.mark.slow
@pytest.mark.parametrize(
    ("says", "problem"),
    [
        ("echo hello", "not what edgekd's runner writes"),
        ("echo '{\"python\": 3}'", "not what edgekd's runner writes"),
        (f"echo '{OTHER_PACKAGES}'", "tells of other packages than were asked for"),
        ("head -c 70000000 /dev/zero", "longer than 67,108,864 bytes"),
        ("exit 9", "the runner ended with 9"),
    ],
)
def test_a_hostile_answer_is_refused(board: Board, says: str, problem: str) -> None:
    board.instead_of("python3", f"#!/bin/sh\n{says}\n")
    with pytest.raises(UnavailableError, match=problem), remote_device(board.address, ("onnxruntime",)):
        pass
    assert board.left() == []


@needs_sshd
@pytest.mark.slow
def test_times_of_other_models_than_were_asked_for_are_refused(board: Board, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"model")
    asked = {"models": {"mine": {"path": str(tmp_path / "model.tflite"), "data": None}}}
    with remote_device(board.address, ()) as there:
        board.instead_of("python3", "#!/bin/sh\necho '{}'\n")
        with pytest.raises(UnavailableError, match="its answer is of other models than were asked for"):
            there.launch("worker")(asked)


@needs_sshd
@pytest.mark.slow
@pytest.mark.parametrize("part", ["..", "a/b", "", "x\n"])
def test_a_path_that_climbs_out_is_refused(board: Board, part: str) -> None:
    with connect(board.address) as there, pytest.raises(ConfigError, match="is no name of a file that edgekd sends"):
        there.path(part)


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(UnavailableError, match=r"no answer within 0\.1 s"):
        run_bounded("ssh://pi", ["sleep", "20"], subprocess.DEVNULL, 0.1)


def test_a_runner_that_nobody_waits_for_ends_by_itself() -> None:
    """Its request never ends."""
    code = "from edgekd.hardware.remote import device_main as it; it.LIMIT_S = 1; it.main('about')"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as runner:
        assert runner.wait(60) == -signal.SIGALRM


def test_a_device_that_never_falls_silent_is_given_up_too() -> None:
    with pytest.raises(UnavailableError, match="no answer within 1 s"):
        run_bounded("ssh://pi", ["sh", "-c", "while sleep 0.05; do echo x >&2; done"], subprocess.DEVNULL, 1)


@pytest.mark.parametrize("text", [b"[]", b'{"m": {"wall": [[-1]]}}', b'{"m": "__import__"}', b"\xff"])
def test_times_of_another_schema_are_refused(text: bytes) -> None:
    adapters: tuple[TypeAdapter[Any], ...] = (WORKER, ALONE)
    for adapter in adapters:
        with pytest.raises(UnavailableError, match="nothing of it is used"):
            read_answer(adapter, "ssh://pi", text)


def test_an_address_is_taken_apart() -> None:
    assert parse_address("ssh://pi@10.0.0.7:2222") == Address("10.0.0.7", "pi", 2222)


@pytest.mark.parametrize("text", ["ssh://-oProxyCommand=x", "ssh://a b", "ssh://pi:99999", "pi", "ssh://a;b"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write it as ssh://user@host:port, or adb:serial; keys and passwords"):
        parse_address(text)


def test_a_password_is_neither_taken_nor_shown() -> None:
    with pytest.raises(ConfigError, match=r"ssh://pi:\.\.\.@host") as caught:
        parse_address("ssh://pi:secret@host")
    assert "secret" not in str(caught.value)


def test_a_phones_serial_is_taken_apart() -> None:
    assert parse_address("adb:emulator-5554") == AdbAddress("emulator-5554")
    assert str(parse_address("adb:192.168.1.7:5555")) == "adb:192.168.1.7:5555"
    with pytest.raises(ConfigError, match="or adb:serial"):
        parse_address("adb:-s x")
