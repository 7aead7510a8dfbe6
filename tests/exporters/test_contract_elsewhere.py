"""What every exporter for a device elsewhere keeps to: what did not run is said, and nothing is claimed of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from helpers import compiled, onnx_models

from edgekd.deploy import exporter
from edgekd.deploy.exporter import Deployable
from edgekd.errors import ConfigError, UnavailableError, UnsupportedError
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.profile import load_profile
from edgekd.hardware.specs import CompilerSpec

ROOM = "rknn"  # a toolchain in an environment of its own
NEEDS = {  # the package that compiles for it here
    "cortex-m7": "tflite_micro",
    "ethos-u55-128": "ethosu",
    "ethos-u65-256": "ethosu",
    "ethos-u85-256": "ethosu",
    "jetson-orin-nano": "tensorrt_rtx",
    "nvidia-rtx": "tensorrt_rtx",
    "qualcomm-htp-v73": "onnxruntime_qnn",
    "qualcomm-htp-v75": "onnxruntime_qnn",
    "qualcomm-htp-v79": "onnxruntime_qnn",
    "rockchip-rk3588": ROOM,
}
HEAVY = {"onnxruntime_qnn", ROOM}  # that CI installs at night alone
PROFILES = [pytest.param(name, marks=pytest.mark.nightly if NEEDS[name] in HEAVY else []) for name in NEEDS]
Hubs = Callable[[Dialect | None], Deployable]


@pytest.fixture(scope="module")
def hubs(tmp_path_factory: pytest.TempPathFactory) -> Hubs:
    return compiled.digits_hubs(tmp_path_factory.mktemp("hubs"))


@pytest.fixture(params=PROFILES)
def spec(request: pytest.FixtureRequest) -> CompilerSpec:
    if NEEDS[request.param] == ROOM:
        request.getfixturevalue("rknn")
    else:
        pytest.importorskip(NEEDS[request.param])
    spec = load_profile(request.param).runtimes[0]
    assert isinstance(spec, CompilerSpec)
    return spec


def test_the_profiles_dialect_is_written_and_whatever_was_not_run_is_said(
    hubs: Hubs, tmp_path: Path, spec: CompilerSpec
) -> None:
    done = exporter.find(spec.exporter).export(hubs(spec.dialect.on(cpu())), spec, compiled.work(tmp_path))
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(done.files)
    assert done.entry in done.files
    assert done.refused is None or spec.name == ROOM  # 62 of 64 on this net, which test_agreement.py says why
    assert (done.coverage.integer, done.coverage.total) == (4, 4)
    assert (done.parity is None) == (done.not_run is not None)
    if spec.latency == "none":
        assert any(note.startswith("latency: none, ") for note in done.notes)


def test_the_files_alone_need_no_reference(hubs: Hubs, tmp_path: Path, spec: CompilerSpec) -> None:
    hub = replace(hubs(spec.dialect.on(cpu())), reference=tmp_path / "none")
    (tmp_path / "out").mkdir()
    written = exporter.find(spec.exporter).write(hub, spec, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(written.files)


def test_an_unknown_operator_of_a_compiler_is_named_with_its_layer(
    hubs: Hubs, tmp_path: Path, spec: CompilerSpec
) -> None:
    hub = hubs(spec.dialect.on(cpu()))
    strange = onnx_models.with_an_unknown_operator(hub.onnx, tmp_path / "strange.onnx")
    with pytest.raises(UnsupportedError, match=r"(strange.*Frobnicate|Frobnicate.*strange)"):
        exporter.find(spec.exporter).export(replace(hub, onnx=strange), spec, compiled.work(tmp_path))


def test_a_runtime_that_is_another_exporters_is_refused(hubs: Hubs, tmp_path: Path, spec: CompilerSpec) -> None:
    other = load_profile("local-cpu").runtime("onnxruntime")
    hub = hubs(spec.dialect.on(cpu()))
    with pytest.raises(ConfigError, match=rf"exporter {spec.exporter}: writes files for {spec.name}, not for onnxrunt"):
        exporter.find(spec.exporter).export(hub, other, compiled.work(tmp_path))


@pytest.mark.parametrize("profile", [name for name in NEEDS if NEEDS[name] != ROOM])
def test_a_missing_compiler_is_named_with_the_extra_that_installs_it(
    hubs: Hubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    (spec,) = load_profile(profile).runtimes
    for module in ("tensorrt", *NEEDS.values()):
        monkeypatch.setitem(sys.modules, module, None)
    extra = {"vela": "litert", "tflite-micro": "litert"}.get(spec.name, spec.name)
    sentence = rf"exporter '{spec.exporter}' needs '.+', which is not installed; pip install 'edgekd\[{extra}\]'"
    with pytest.raises(UnavailableError, match=sentence):
        exporter.find(spec.exporter).export(hubs(spec.dialect.on(cpu())), spec, compiled.work(tmp_path))


def test_a_missing_toolchain_is_named_with_what_installs_it(
    hubs: Hubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKD_HOME", str(tmp_path / "home"))
    (spec,) = load_profile("rockchip-rk3588").runtimes
    with pytest.raises(UnavailableError, match="toolchain 'rknn' is not installed; edgekd toolchain install rknn"):
        exporter.find("rknn").export(hubs(spec.dialect.on(cpu())), spec, compiled.work(tmp_path))


def test_no_exporter_is_left_out_of_the_contract() -> None:
    """Those of this machine's runtimes are in test_contract.py."""
    here = {spec.exporter for spec in load_profile("local-cpu").runtimes}
    elsewhere = {load_profile(name).runtimes[0].exporter for name in NEEDS}
    assert here | elsewhere == {one.name for one in entry_points(group=exporter.GROUP)}
