"""What every exporter for a device elsewhere keeps to: what did not run is said, and nothing is claimed of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from helpers import compiled
from onnx import helper

from edgekd.deploy import exporter
from edgekd.deploy.exporter import Deployable
from edgekd.errors import ConfigError, UnsupportedError
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.profile import load_profile
from edgekd.hardware.specs import CompilerSpec

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
}
HEAVY = {"onnxruntime_qnn"}  # that CI installs at night alone
PROFILES = [pytest.param(name, marks=pytest.mark.nightly if NEEDS[name] in HEAVY else []) for name in NEEDS]
Hubs = Callable[[Dialect | None], Deployable]


@pytest.fixture(scope="module")
def hubs(tmp_path_factory: pytest.TempPathFactory) -> Hubs:
    return compiled.digits_hubs(tmp_path_factory.mktemp("hubs"))


@pytest.fixture(params=PROFILES)
def spec(request: pytest.FixtureRequest) -> CompilerSpec:
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
    assert done.refused is None
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
    graph = onnx.load(hub.onnx)
    graph.opset_import.append(helper.make_opsetid("elsewhere", 1))
    last = next(node for node in graph.graph.node if "logits" in node.output)
    last.output[0] = "before"
    graph.graph.node.append(helper.make_node("Frobnicate", ["before"], ["logits"], name="strange", domain="elsewhere"))
    onnx.save(graph, tmp_path / "strange.onnx")
    with pytest.raises(UnsupportedError, match=r"(strange.*Frobnicate|Frobnicate.*strange)"):
        exporter.find(spec.exporter).export(replace(hub, onnx=tmp_path / "strange.onnx"), spec, compiled.work(tmp_path))


def test_a_runtime_that_is_another_exporters_is_refused(hubs: Hubs, tmp_path: Path, spec: CompilerSpec) -> None:
    other = load_profile("local-cpu").runtime("onnxruntime")
    hub = hubs(spec.dialect.on(cpu()))
    with pytest.raises(ConfigError, match=rf"exporter {spec.exporter}: writes files for {spec.name}, not for onnxrunt"):
        exporter.find(spec.exporter).export(hub, other, compiled.work(tmp_path))
