"""adb, against a scripted one with transcripts: no phone was at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.gate import WEIGHT
from helpers.phone import SERIAL, Phone
from helpers.tflite_models import linear
from typer.testing import CliRunner

from edgekd.cli.app import app
from edgekd.errors import DeviceLostError, UnavailableError
from edgekd.hardware.remote.address import AdbAddress
from edgekd.hardware.remote.connection import connect
from edgekd.settings import read_yaml

ADDRESS = AdbAddress(SERIAL)
SAYS = read_yaml((Path(__file__).parents[1] / "golden" / "tools" / "published.yaml").read_text("utf-8"), "published")


def calls(phone: Phone) -> list[list[str]]:
    return [json.loads(line) for line in (phone.home / "calls").read_text("utf-8").splitlines()]


def test_a_file_is_pushed_whole_and_nothing_stays_behind(phone: Phone, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(bytes(range(256)) * 400)
    with connect(ADDRESS) as there:
        sent = there.send(tmp_path / "model.tflite", "m0", "model.tflite")
        assert Path(sent).read_bytes() == (tmp_path / "model.tflite").read_bytes()
        assert Path(there.folder).stat().st_mode & 0o777 == 0o700
    assert phone.left() == []
    assert ["-s", SERIAL, "push", str(tmp_path / "model.tflite"), sent] in calls(phone)
    assert all(words[:2] == ["-s", SERIAL] for words in calls(phone)[1:])


def test_what_is_pushed_damaged_is_refused(phone: Phone, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"model")
    phone.has("sha256sum", "#!/bin/sh\necho 0000\n")
    with connect(ADDRESS) as there, pytest.raises(UnavailableError, match="arrived damaged"):
        there.send(tmp_path / "model.tflite", "m0", "model.tflite")
    assert phone.left() == []


@pytest.mark.parametrize(
    ("devices", "says"),
    [
        ("none", r"adb lists no such device \(none\); switch on USB debugging"),
        ("unauthorized", "is unauthorized; accept this machine's key on its screen"),
        ("offline", "is offline; connect it anew"),
    ],
)
def test_a_phone_that_is_not_ready_is_told_with_what_to_do(phone: Phone, devices: str, says: str) -> None:
    phone.says(devices)
    with pytest.raises(UnavailableError, match=f"adb:{SERIAL}: {says}"), connect(ADDRESS):
        pass


def test_another_phone_than_is_attached_is_told_with_those_that_are(phone: Phone) -> None:
    with pytest.raises(UnavailableError, match=rf"adb:0a388e93: adb lists no such device \({SERIAL}\)"):
        connect(AdbAddress("0a388e93")).__enter__()


def test_adb_itself_may_be_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="adb is not installed here; install Android's platform tools"):
        connect(ADDRESS).__enter__()


@pytest.mark.parametrize("what", ["push", "shell"])
def test_a_phone_that_is_unplugged_is_lost(phone: Phone, tmp_path: Path, what: str) -> None:
    (tmp_path / "model.tflite").write_bytes(b"model")
    with connect(ADDRESS) as there:
        phone.loses(what)
        with pytest.raises(DeviceLostError, match=f"could not be sent: .*device '{SERIAL}' not found"):
            there.send(tmp_path / "model.tflite", "m0", "model.tflite")


def test_two_jobs_do_not_share_a_phone(phone: Phone) -> None:
    busy = pytest.raises(UnavailableError, match="busy: another edgekd measures there")
    with connect(ADDRESS), busy, connect(ADDRESS):
        pass


def test_a_model_is_timed_on_a_phone_by_litert_s_own_tool(phone: Phone, tmp_path: Path) -> None:
    """The scripted tool prints what was published of it."""
    pytest.importorskip("ai_edge_litert")
    path = linear(WEIGHT.T, tmp_path / "model.tflite")
    asked = ["profile", str(path), "--device", str(ADDRESS)]
    done = CliRunner().invoke(app, asked)
    assert isinstance(done.exception, UnavailableError)
    assert "let the runtime's own tool measure (edgekd profile --by-tool)" in str(done.exception)
    says = SAYS["benchmark_model-median"]["says"]
    phone.has("benchmark_model", f"#!/bin/sh\n[ -f \"${{1#--graph=}}\" ] && cat <<'END'\n{says}END\n")
    done = CliRunner().invoke(app, [*asked, "--by-tool"])
    assert done.exit_code == 0, done.output
    assert "model.tflite, by benchmark_model" in done.stdout
    assert "latency median   1239.807 ms" in done.stdout
    assert ", measured, n 400 (8 processes), inputs random" in done.stdout
    assert phone.left() == []
