"""A microcontroller's files: what TensorFlow Lite Micro answers, the arena that is enough, and the array."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import compiled

from edgekd.deploy import exporter
from edgekd.deploy.exporter import Deployable
from edgekd.errors import UnsupportedError
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.profile import load_profile
from edgekd.hardware.specs import CompilerSpec

pytest.importorskip("tflite_micro")
(M7,) = load_profile("cortex-m7").runtimes
assert isinstance(M7, CompilerSpec)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Deployable:
    return compiled.digits_hubs(tmp_path_factory.mktemp("hubs"))(M7.dialect.on(cpu()))


def test_the_interpreter_answers_as_the_graph_and_says_how_little_memory_is_enough(
    hub: Deployable, tmp_path: Path
) -> None:
    from tflite_micro.python.tflite_micro import runtime

    done = exporter.find("tflite-micro").export(hub, M7, compiled.work(tmp_path))
    assert done.parity is not None
    assert done.parity.samples == 64
    assert done.parity.top1_agreement >= 0.98
    file = (tmp_path / "out" / "model.tflite").read_bytes()
    told = json.loads((tmp_path / "out" / "footprint.json").read_text("utf-8"))
    assert told["flash_bytes"] == len(file)
    runtime.Interpreter.from_bytes(file, arena_size=told["arena_bytes"]).invoke()
    with pytest.raises(RuntimeError):
        runtime.Interpreter.from_bytes(file, arena_size=told["arena_bytes"] - 16)


def test_the_c_array_is_the_file_byte_by_byte(hub: Deployable, tmp_path: Path) -> None:
    exporter.find("tflite-micro").export(hub, M7, compiled.work(tmp_path))
    text = (tmp_path / "out" / "model_data.cc").read_text("utf-8")
    file = bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2})", text))
    assert file == (tmp_path / "out" / "model.tflite").read_bytes()
    head = (tmp_path / "out" / "model_data.h").read_text("utf-8")
    arena = json.loads((tmp_path / "out" / "footprint.json").read_text("utf-8"))["arena_bytes"]
    assert f"kModelBytes = {len(file)};" in head
    assert f"kTensorArenaBytes = {arena};" in head


def test_a_float_graph_is_refused(hub: Deployable, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    floats = compiled.digits_hubs(tmp_path_factory.mktemp("float"))(None)
    with pytest.raises(UnsupportedError, match="exporter tflite-micro: writes int8 files only"):
        exporter.find("tflite-micro").write(replace(hub, onnx=floats.onnx), M7, tmp_path)
