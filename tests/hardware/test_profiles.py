"""Device profiles: every fact has a source, and one that describes another machine is not used here."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekd import resources
from edgekd.errors import ConfigError, UnavailableError
from edgekd.hardware.detect import as_profile_yaml, detect
from edgekd.hardware.fingerprint import Cpu, cpu
from edgekd.hardware.here import installed
from edgekd.hardware.profile import Hardware, load_profile, mismatch, profile_of, this_cpu
from edgekd.hardware.specs import CompilerSpec
from edgekd.settings import read_yaml

VNNI = Cpu(model="i", architecture="x86_64", isa=("avx2", "avx512f", "avx512_vnni"))
AVX2 = Cpu(model="a", architecture="x86_64", isa=("avx2",))
PI = Cpu(model="p", architecture="aarch64", isa=("asimddp",))
LEAST = {
    "local-cpu", "x86-vnni", "x86", "rpi5", "jetson-orin-nano", "nvidia-rtx", "ethos-u55-128", "ethos-u65-256",
    "ethos-u85-256", "cortex-m7",
    "qualcomm-htp-v73", "qualcomm-htp-v75", "qualcomm-htp-v79", "intel-gpu", "intel-npu", "nvidia-cuda",
    "nvidia-tensorrt",
}  # fmt: skip
TEXT = """
schema: 1
name: mine
description: mine
kind: cpu
connection: local
runtimes: [{name: onnxruntime, dialect: {activation: uint8-affine}}]
"""


def test_the_devices_that_were_promised_ship() -> None:
    assert set(resources.shipped("hw_profiles")) >= LEAST


@pytest.mark.parametrize("name", resources.shipped("hw_profiles"))
def test_every_fact_has_a_source(name: str) -> None:
    assert load_profile(name).unsourced() == []


def test_a_fact_without_a_source_is_found() -> None:
    text = TEXT + "hardware: {cores: 4, l2_kib: 512}\nsources: {hardware.cores: the vendor's page}\n"
    assert profile_of(read_yaml(text, "mine"), "mine").unsourced() == [
        "hardware.l2_kib",
        "runtimes.0.dialect.activation",
    ]


def test_a_source_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'hardware\.core' is no setting of this profile"):
        profile_of(read_yaml(TEXT + "sources: {hardware.core: page}\n", "mine"), "mine")


def test_a_runtime_stands_once_in_a_profile() -> None:
    again = "{name: onnxruntime, threads: 2, dialect: {activation: uint8-affine}}"
    twice = TEXT.replace("runtimes: [", f"runtimes: [{again}, ")
    with pytest.raises(ConfigError, match="'onnxruntime' is there twice; other settings of it need a profile of"):
        profile_of(read_yaml(twice, "mine"), "mine")


@pytest.mark.parametrize(
    ("name", "device", "why"),
    [
        ("local-cpu", AVX2, None),
        ("x86", AVX2, None),
        ("x86-vnni", VNNI, None),
        ("x86-vnni", AVX2, "needs avx512_vnni or avx_vnni, this CPU has avx2"),
        ("x86", PI, "is x86_64, this CPU is aarch64"),
        ("rpi5", PI, None),
    ],
)
def test_a_profile_knows_the_cpu_that_it_describes(name: str, device: Cpu, why: str | None) -> None:
    assert mismatch(load_profile(name).hardware, device) == why
    assert mismatch(Hardware(isa=("sve",)), device) == f"needs sve, this CPU has {', '.join(device.isa)}"


LOCAL = {"local-cpu", "x86", "x86-vnni", "intel-gpu", "intel-npu", "nvidia-cuda", "nvidia-tensorrt"}


def test_an_accelerator_that_its_runtime_does_not_see_is_named_with_what_it_sees() -> None:
    pytest.importorskip("openvino")
    with pytest.raises(UnavailableError, match=r"device intel-npu: openvino sees .*CPU.* here, and no NPU; run edgekd"):
        installed(load_profile("intel-npu"))
    for name in ("nvidia-cuda", "nvidia-tensorrt"):
        with pytest.raises(
            UnavailableError, match=rf"device {name}: none of its runtimes is installed \(onnxruntime\)"
        ):
            installed(load_profile(name))


@pytest.mark.parametrize("name", sorted(LEAST - LOCAL))
def test_hardware_elsewhere_is_not_taken_for_this_machine(name: str) -> None:
    with pytest.raises(UnavailableError, match=rf"device {name}: hardware elsewhere"):
        this_cpu(load_profile(name))


def test_what_a_compiler_says_of_latency_is_no_measurement() -> None:
    for name in LEAST:
        for spec in load_profile(name).runtimes:
            if isinstance(spec, CompilerSpec):
                assert spec.latency in ("estimated", "none")


def test_a_runtime_is_found_by_its_name_and_by_what_it_opens() -> None:
    profile = load_profile("local-cpu")
    assert profile.runtime().name == "onnxruntime"
    assert profile.runtime(suffix=".tflite").name == "litert"
    assert profile.runtime(suffix=".xml").name == "openvino"
    assert profile.runtime("openvino", ".onnx").name == "openvino"
    with pytest.raises(ConfigError, match=r"no runtime opens \.pt files; it has: onnxruntime \(\.onnx"):
        profile.runtime(suffix=".pt")
    with pytest.raises(ConfigError, match=r"no runtime 'litert' opens \.onnx files"):
        profile.runtime("litert", ".onnx")
    with pytest.raises(ConfigError, match="device cortex-m7: no runtime; it has: none that runs here"):
        load_profile("cortex-m7").runtime()


def test_this_machine_is_detected_and_its_profile_can_be_kept(tmp_path: Path) -> None:
    found = detect()
    assert "local-cpu" in found.fits
    assert found.profile.hardware.processor == cpu().model
    assert (found.profile.hardware.cores or 0) >= 1
    assert found.runtimes["onnxruntime"]
    path = tmp_path / "mine.yaml"
    path.write_text(as_profile_yaml(found))
    kept = load_profile(str(path))
    assert kept.hardware == found.profile.hardware
    assert kept.runtimes == found.profile.runtimes
    assert kept.unsourced() == []
    this_cpu(kept)
