"""What goes wrong on the way to a device and on it; after each nothing stays behind there, and nothing runs on."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import onnx
import pytest
from helpers.board import TOLD, Board, needs_sshd

from edgekd.errors import UnavailableError
from edgekd.hardware.profile import Measuring, load_profile
from edgekd.hardware.remote import connection, device, farm
from edgekd.hardware.remote.address import Address
from edgekd.hardware.remote.connection import connect
from edgekd.hardware.remote.device import remote_device
from edgekd.measuring import measure

pytestmark = [needs_sshd, pytest.mark.slow]
# waits with its arguments in its command line, as a program that works on these files
WAITING = f'#!/bin/sh\nexec {sys.executable} -c "import time; time.sleep(300)" "$@"\n'


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other tries: test_farm.py has them."""
    monkeypatch.setattr(farm, "PAUSES_S", ())


def gone(board: Board) -> bool:
    """Within five seconds: the folder, and every process that works in it."""
    return soon(lambda: not board.left() and not list(running(board)))


def running(board: Board) -> Iterator[str]:
    """Command lines that name the device's folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if f"\0{board.temporary}/edgekd." in words:
            yield words


def soon(true: Callable[[], bool]) -> bool:
    for _ in range(500):
        if true():
            return True
        time.sleep(0.01)
    return False


@contextmanager
def as_soon_as(true: Callable[[], bool], then: Callable[[], None]) -> Iterator[None]:
    watcher = Thread(target=lambda: then() if soon(true) else None)
    watcher.start()
    yield
    watcher.join()


def impatient(monkeypatch: pytest.MonkeyPatch, option: str, value: str) -> None:
    """Ssh with a shorter limit."""
    changed = tuple(re.sub(rf"(-o{option}=)\d+", rf"\g<1>{value}", word) for word in connection.SSH)
    assert changed != connection.SSH
    monkeypatch.setattr(connection, "SSH", changed)


def measure_for_long(board: Board) -> None:
    path = board.home / "model.onnx"
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 64]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    long = Measuring(processes=2, rounds=10**9, time_s=300)
    measure(path, load_profile("local-cpu").model_copy(update={"measure": long}), device=str(board.address))


def test_a_full_disk_is_told_with_what_did_not_fit(board: Board, tmp_path: Path) -> None:
    """The file's place on the device is one where every write finds the disk full."""
    board.instead_of("mkdir", '#!/bin/sh\n/bin/mkdir "$@" && ln -s /dev/full "$1/model.onnx"\n')
    (tmp_path / "model.onnx").write_bytes(bytes(3 * 2**20))
    with (
        connect(board.address) as there,
        pytest.raises(UnavailableError, match=r"model\.onnx \(3\.0 MiB\) could not be sent.*free some space there"),
    ):
        there.send(tmp_path / "model.onnx", "m0", "model.onnx")
    assert gone(board)


def test_a_disk_too_full_for_a_folder_is_told(board: Board) -> None:
    board.instead_of("mktemp", "#!/bin/sh\necho mktemp: No space left on device >&2; exit 1\n")
    with pytest.raises(UnavailableError, match="its disk may be full or read-only"), connect(board.address):
        pass
    assert gone(board)


def test_a_connection_that_is_cut_in_a_transfer_leaves_nothing(board: Board, tmp_path: Path) -> None:
    large = tmp_path / "large.onnx"
    with large.open("wb") as file:
        file.truncate(2**30)

    def arriving() -> bool:
        return any(path.stat().st_size for path in board.temporary.glob("edgekd.*/large.onnx"))

    with (
        connect(board.address) as there,
        as_soon_as(arriving, board.cut),
        pytest.raises(UnavailableError, match=r"large\.onnx could not be sent"),
    ):
        there.send(large, "large.onnx")
    assert gone(board)


def test_a_connection_that_is_cut_in_a_run_ends_the_run_and_frees_the_device(board: Board) -> None:
    with (
        as_soon_as(lambda: any("\0worker" in words for words in running(board)), board.cut),
        pytest.raises(UnavailableError, match="the connection was lost"),
    ):
        measure_for_long(board)
    assert gone(board)
    with connect(board.address):
        pass


def test_a_device_that_falls_silent_in_a_run_is_given_up(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch, "ServerAliveInterval", "1")
    with (
        as_soon_as(
            lambda: any("\0worker" in words for words in running(board)), lambda: board.signalled(signal.SIGSTOP)
        ),
        pytest.raises(UnavailableError, match="the connection was lost"),
    ):
        measure_for_long(board)
    board.signalled(signal.SIGCONT)
    assert gone(board)


def test_a_runner_that_takes_too_long_is_given_up_and_ended(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    board.instead_of("python3", WAITING)
    monkeypatch.setattr(device, "ABOUT_S", 0.5)
    with pytest.raises(UnavailableError, match=r"no answer within 0\.5 s"), remote_device(board.address, ()):
        pass
    assert gone(board)


def test_a_transfer_that_takes_too_long_is_given_up(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    board.instead_of("mkdir", WAITING)
    monkeypatch.setattr(connection, "SEND_S", 0.5)
    with connect(board.address) as there, pytest.raises(UnavailableError, match=r"no answer within 0\.5 s"):
        there.send(Path(__file__), "m0", "late")
    assert gone(board)


def test_a_device_that_takes_a_connection_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch, "ConnectTimeout", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address("127.0.0.1", port=silent.getsockname()[1])
        with pytest.raises(UnavailableError, match="timed out"), connect(address):
            pass


def test_a_line_that_is_begun_and_not_ended_is_given_up(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    board.instead_of("flock", "#!/bin/sh\nprintf folder; sleep 3; exit 1\n")
    monkeypatch.setattr(connection, "CONNECT_S", 0.5)
    with pytest.raises(UnavailableError, match=r"no answer within 1\.0 s"), connect(board.address):
        pass
    assert gone(board)


@pytest.mark.parametrize("complaint", ["head -c 3000000 /dev/zero | tr '\\0' x", "printf '\\033[2Jx%.0s' $(seq 9999)"])
def test_a_flood_of_complaints_is_cut_to_a_sentence(board: Board, complaint: str) -> None:
    (board.home / "shell").write_text(f"#!/bin/sh\n{{ {complaint}; }} >&2; exit 9\n", "ascii")
    with pytest.raises(UnavailableError, match="127") as caught, connect(board.address):
        pass
    assert len(str(caught.value)) < 400
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "folder",
    ["/tmp/../etc/edgekd.12345678", "tmp/edgekd.12345678", "/tmp/$(id)/edgekd.12345678", "/tmp/edgekd.1/edgekd.x", "/"],
)
def test_a_folder_that_climbs_out_or_is_none_is_refused(board: Board, folder: str) -> None:
    (board.home / "shell").write_text(f"#!/bin/sh\necho 'folder {folder} x86_64'; cat >/dev/null\n", "ascii")
    with pytest.raises(UnavailableError, match="and no folder"), connect(board.address):
        pass


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\0b"])
def test_a_name_that_climbs_out_of_an_answer_is_refused(board: Board, name: str) -> None:
    told = json.dumps(TOLD | {"packages": {name: None}})
    board.instead_of("python3", f"#!/bin/sh\ncat <<'END'\n{told}\nEND\n")
    with pytest.raises(UnavailableError, match="nothing of it is used"), remote_device(board.address, ()):
        pass
    assert gone(board)
