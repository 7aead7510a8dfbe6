"""What a device is, asked over ssh; a real sshd on loopback stands for it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from helpers.board import TOLD, Board, needs_sshd
from typer.testing import CliRunner

from edgekd import resources
from edgekd.cli.app import app
from edgekd.cli.calibrate import Asked, measured_at
from edgekd.errors import UnavailableError
from edgekd.hardware.detect import as_profile_yaml, detect
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.latencies import LatencyTable, conditions
from edgekd.hardware.profile import load_profile, only
from edgekd.hardware.remote import farm
from edgekd.hardware.remote.detect import detect_there, detected
from edgekd.hardware.remote.device import RemoteDevice, remote_device
from edgekd.hardware.where import cpu_of
from edgekd.models.shape import NetShape
from edgekd.search.calibrate import InProcesses

SMALL = "name: residual-cnn\nstages: [2]\nblocks: [1]\nwidth_max: 32\nstem_strides: [2]\n"
PI_CPU = "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp\nCPU part\t: 0xd0b\n"
PI = TOLD | {
    "architecture": "aarch64",
    "cpuinfo": PI_CPU,
    "cores": 4,
    "look": TOLD["look"] | {"temperature_c": 48.5, "throttled": []},
    "facts": TOLD["facts"] | {"board": "Raspberry Pi 5 Model B Rev 1.0", "ram_mib": 8052},
}


def tells(board: Board, about: dict[str, object], runtimes: dict[str, str | None]) -> None:
    """The device's Python answers so, whatever packages it is asked for."""
    script = (
        '#!/usr/bin/env -S /bin/sh -c \'exec /usr/bin/python3 "$0" "$@"\'\n'
        "import json, sys\n"
        f"told, known = {about!r}, {runtimes | {'numpy': '2.4'}!r}\n"
        'told["packages"] = {name: known.get(name) for name in json.load(sys.stdin)["packages"]}\n'
        "print(json.dumps(told))\n"
    )
    board.instead_of("python3", script)


@needs_sshd
@pytest.mark.slow
def test_a_device_is_detected_into_a_profile_that_a_build_takes(board: Board, tmp_path: Path) -> None:
    found = detect_there(board.address)
    assert found.profile.hardware == detect().profile.hardware
    assert found.runtimes["onnxruntime"]
    path = tmp_path / "there.yaml"
    path.write_text(as_profile_yaml(found), "utf-8")
    kept = load_profile(str(path))
    assert kept.connection == "remote"
    assert kept.unsourced() == []
    assert f"read by edgekd from the kernel of {board.address}" in kept.sources["hardware"]
    assert cpu_of(kept, str(board.address)) == cpu()
    assert board.left() == []


@needs_sshd
@pytest.mark.slow
def test_a_board_of_another_architecture_gets_the_runtimes_that_are_there_with_their_dialects(board: Board) -> None:
    tells(board, PI, {"ai-edge-litert": "2.3.0"})
    found = detect_there(board.address)
    assert found.profile.description == "Raspberry Pi 5 Model B Rev 1.0"
    assert found.profile.hardware.isa == ("asimddp", "asimdhp")
    assert (found.profile.hardware.cores, found.profile.hardware.ram_mib) == (4, 8052)
    assert [spec.name for spec in found.profile.runtimes] == ["litert"]
    assert found.runtimes == {"onnxruntime": None, "litert": "2.3.0"}
    assert found.fits == ("local-cpu", "rpi5")
    assert found.look.temperature_c == 48.5
    assert found.profile.sources == {"runtimes.0.dialect": load_profile("rpi5").sources["runtimes.1.dialect"]}


@needs_sshd
@pytest.mark.slow
def test_the_command_shows_heat_and_what_is_missing(board: Board) -> None:
    tells(board, PI, {"onnxruntime": "1.31.1"})
    done = CliRunner().invoke(app, ["devices", "detect", str(board.address)])
    assert done.exit_code == 0, done.output
    lines = {line[:14].strip(): line[15:] for line in done.stdout.splitlines()}
    assert (lines["temperature_c"], lines["throttled"], lines["litert"]) == ("48.5", "no", "not installed")


@needs_sshd
@pytest.mark.slow
def test_an_architecture_that_no_profile_knows_is_told(board: Board) -> None:
    tells(board, PI | {"architecture": "riscv64"}, {})
    with pytest.raises(UnavailableError, match="is riscv64; no shipped profile has runtimes for it"):
        detect_there(board.address)


def test_sources_move_with_the_runtimes_that_are_left() -> None:
    shipped = load_profile("local-cpu")
    left = only(shipped, ["litert"])
    assert left.sources == {"runtimes.0.dialect": shipped.sources["runtimes.2.dialect"]}


@needs_sshd
@pytest.mark.slow
def test_nets_are_measured_there_for_a_devices_table(board: Board, tmp_path: Path) -> None:
    small = NetShape(stem_width=8, stem_stride=2, widths=((16, 16),), strides=(2,))
    large = NetShape(stem_width=16, widths=((64, 64), (64, 64)), strides=(1, 1))
    with remote_device(board.address, ()) as there:
        spec = detected(there).profile.runtime()
        where = conditions(
            there.cpu, spec, (3, 16, 16), 10, quantised=True, versions=there.needed(spec.packages)
        )  # fmt: skip
        first, second = InProcesses(where, tmp_path, there.launch("worker"))((small, large), 0)
    assert 0 < 2 * first < second
    assert where.versions == {"onnxruntime": version("onnxruntime")}
    assert board.left() == []


@needs_sshd
@pytest.mark.nightly
def test_the_command_calibrates_a_device_that_dies_once(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on with what was measured before."""
    monkeypatch.setattr(farm, "PAUSES_S", (0.5, 1.0))
    ask, runs = RemoteDevice._ask, list[str]()

    def cut_once(self: RemoteDevice, module: str, request: dict[str, Any], limit_s: float) -> dict[str, Any]:
        runs.append(module)
        if runs.count("worker") == 4 and module == "worker":  # a trial of two, and a process that is kept
            board.cut()
        return ask(self, module, request, limit_s)

    monkeypatch.setattr(RemoteDevice, "_ask", cut_once)
    (tmp_path / "small.yaml").write_text(SMALL)
    asked = ["devices", "calibrate", str(board.address), "--space", str(tmp_path / "small.yaml"), "--nets", "50",
             "--passes", "2", "--image", "8", "--out", str(tmp_path / "table.json")]  # fmt: skip
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    table = LatencyTable.model_validate_json((tmp_path / "table.json").read_text("utf-8"))
    assert table.conditions.device == cpu()
    assert len(table.latencies_ms()) == 50
    assert {len(net.least_ms) for batch in table.batches for net in batch.nets} == {2}
    assert "once more in 0.5 s" in done.stderr


def test_a_profile_is_named_for_a_device_elsewhere_alone() -> None:
    done = CliRunner().invoke(app, ["devices", "calibrate", "local-cpu", "--target", "rpi5"])
    assert done.exit_code == 2
    assert "goes with a device elsewhere alone" in done.output


@needs_sshd
def test_no_table_is_made_of_an_emulator(board: Board, tmp_path: Path) -> None:
    """By its own account, or by its profile's: a search would believe the table."""
    (tmp_path / "emulated.yaml").write_text(f"emulated: true\n{resources.read('hw_profiles', 'local-cpu')}", "utf-8")
    own, emulated = Asked((3, 8, 8), 10, None, quantised=True), str(tmp_path / "emulated.yaml")
    for device, target in ((str(board.address), emulated), (emulated, None)):
        with (
            pytest.raises(UnavailableError, match="device local-cpu: is an emulator"),
            measured_at(device, target, own),
        ):
            pass
    board.instead_of("uname", "#!/bin/sh\necho aarch64\n")
    with (
        pytest.raises(UnavailableError, match=r"ssh://.*: is an emulator, whose times say nothing of a device"),
        measured_at(str(board.address), None, own),
    ):
        pass


@needs_sshd
def test_a_name_in_a_farm_is_calibrated_with_the_farms_profile_and_runtime(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = f"schema: 1\ndevices:\n  gateway: {{address: '{board.address}', profile: local-cpu, runtime: openvino}}\n"
    (tmp_path / "devices.yaml").write_text(told, "utf-8")
    monkeypatch.chdir(tmp_path)
    with measured_at("gateway", None, Asked((3, 8, 8), 10, None, quantised=True)) as (where, launch):
        assert launch is not None
        assert where.versions == {"openvino": version("openvino")}
    with measured_at("gateway", None, Asked((3, 8, 8), 10, "onnxruntime", quantised=True)) as (where, _):
        assert where.versions == {"onnxruntime": version("onnxruntime")}
