"""The runtimes' own benchmark tools: what they print, and a model timed by one on a device without Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.board import Board, needs_sshd
from helpers.gate import QUICK
from typer.testing import CliRunner

from edgekd.cli.app import app
from edgekd.errors import UnavailableError
from edgekd.hardware.profile import Measuring, load_profile
from edgekd.hardware.remote.connection import Connection
from edgekd.hardware.remote.tools import (
    Told,
    read_benchmark_app,
    read_benchmark_model,
    read_perf_test,
    read_trtexec,
    tool_of,
)
from edgekd.hardware.runtime import Tensor
from edgekd.hardware.specs import OnnxRuntimeSpec
from edgekd.measuring import measure, measure_by_tool
from edgekd.settings import read_yaml

GOLDEN = Path(__file__).parents[1] / "golden" / "tools"
PUBLISHED = read_yaml((GOLDEN / "published.yaml").read_text("utf-8"), "published.yaml")
INPUTS = {"x": Tensor("x", "float32", (1, 64)), "y": Tensor("y", "float32", (1, 2, 3))}
BUILD = "2026.4.1-22982-e213a147257-releases/2026/4"
NO_PYTHON = "#!/bin/sh\nexit 127\n"


def test_what_benchmark_app_printed_here_is_read() -> None:
    found = read_benchmark_app((GOLDEN / "benchmark_app-2026.4.1.txt").read_text("utf-8"))
    assert replace(found, latency_ms=round(found.latency_ms, 6)) == Told(
        46.30e-3, "median", 18366, "2026.4.1-22982-e213a147257-releases/2026/4"
    )


@pytest.mark.parametrize(("unit", "ms"), [("46.30 us", 0.0463), ("2.07 ms", 2.07)])
def test_benchmark_app_changes_its_unit_with_the_size(unit: str, ms: float) -> None:
    assert read_benchmark_app(f"[ INFO ]    Median:        {unit}\n").latency_ms == pytest.approx(ms)


def test_what_was_published_of_the_other_tools_is_read() -> None:
    read = {
        "benchmark_model-2.4": (read_benchmark_model, Told(249.684, "mean", 50, None)),
        "benchmark_model-median": (read_benchmark_model, Told(1239.807, "median", 50, None)),
        "perf_test-percentiles": (read_perf_test, Told(58.7108, "median", 1000, None)),
        "perf_test-average": (read_perf_test, Told(84.3236, "mean", 10, None)),
        "trtexec": (read_trtexec, Told(7.14139, "median", None, "100200")),
        "benchmark_model-2024": (read_benchmark_model, Told(13.5202, "mean", 74, None)),
        "perf_test-1.8": (read_perf_test, Told(81.7272, "median", 3, None)),
        "trtexec-8.4": (read_trtexec, Told(0.388443, "median", None, "8400")),
    }
    assert set(read) == set(PUBLISHED)
    for name, (reader, told) in read.items():
        found = reader(PUBLISHED[name]["says"])
        assert replace(found, latency_ms=round(found.latency_ms, 6)) == told, name


@pytest.mark.parametrize("reader", [read_benchmark_app, read_benchmark_model, read_perf_test, read_trtexec])
@pytest.mark.parametrize("text", ["", "Median: none", "count=x first=1 avg=1", "P50 Latency is fast sec"])
def test_output_that_cannot_be_read_is_no_latency(reader: object, text: str) -> None:
    assert callable(reader)
    with pytest.raises(UnavailableError, match="no latency that edgekd can read is printed"):
        reader(text)


def test_tools_are_called_with_the_settings_of_the_runtime() -> None:
    quick, profile = Measuring(rounds=30, time_s=2.0), load_profile("local-cpu")
    words = tool_of(profile.runtime("openvino")).words("/t/m.onnx", INPUTS, quick)
    assert words[words.index("-shape") + 1] == "x[1,64],y[1,2,3]"
    assert words[words.index("-infer_precision") + 1] == "f32"  # it may take bf16 otherwise, as its golden file says
    words = tool_of(profile.runtime("litert")).words("/t/m.tflite", {}, quick)
    assert words[1:4] == ["--graph=/t/m.tflite", "--num_threads=1", "--use_xnnpack=true"]
    words = tool_of(profile.runtime("onnxruntime")).words("/t/m.onnx", {}, quick)
    assert words[-1] == "/t/m.onnx"
    jetson = tool_of(load_profile("jetson-orin-nano").runtimes[0])
    assert jetson.first is not None
    assert "--timingCacheFile=$HOME/.cache/edgekd/trtexec.cache" in jetson.first("/t/m.onnx", INPUTS)[2]
    assert jetson.words("/t/m.onnx", INPUTS, quick)[1:3] == ["--loadEngine=/t/m.onnx.plan", "--shapes=x:1x64,y:1x2x3"]


def test_a_setting_or_compiler_that_no_tool_has_is_refused() -> None:
    spec = load_profile("nvidia-cuda").runtime()
    assert isinstance(spec, OnnxRuntimeSpec)
    with pytest.raises(UnavailableError, match="on the CPU alone, and not with CUDAExecutionProvider"):
        tool_of(spec).words("m.onnx", {}, Measuring())
    with pytest.raises(UnavailableError, match="vela: has no tool that times a model on a device by itself"):
        tool_of(load_profile("ethos-u55-128").runtimes[0])


@needs_sshd
@pytest.mark.slow
def test_a_model_is_timed_by_openvinos_own_tool_where_there_is_no_python(
    board: Board, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tool is the real one."""
    board.instead_of("python3", NO_PYTHON)
    with pytest.raises(UnavailableError, match=r"python3 is not installed there; .*edgekd profile --by-tool"):
        measure(model, QUICK, device=str(board.address))
    profile = load_profile("local-cpu").model_copy(update={"measure": Measuring(processes=2, time_s=1.0)})
    board.dies_once(monkeypatch, "send", Connection)
    found = measure_by_tool(model, profile, device=str(board.address), runtime="openvino")
    assert (found.tool, found.statistic, found.kind) == ("benchmark_app", "median", "measured")
    assert found.tool_version is not None
    assert 0 < found.latency_ms.value < 5
    assert board.left() == []


@needs_sshd
@pytest.mark.slow
def test_a_tool_that_is_missing_or_fails_is_told(board: Board, model: Path) -> None:
    with pytest.raises(UnavailableError, match="neither python3 nor onnxruntime_perf_test is there; install one"):
        measure_by_tool(model, QUICK, device=str(board.address))
    board.instead_of("onnxruntime_perf_test", "#!/bin/sh\necho cannot open the model >&2; exit 3\n")
    with pytest.raises(UnavailableError, match="onnxruntime_perf_test ended with 3: cannot open the model"):
        measure_by_tool(model, QUICK, device=str(board.address))
    assert board.left() == []


@needs_sshd
@pytest.mark.slow
def test_an_engine_is_built_once_where_it_runs(board: Board, model: Path) -> None:
    """By a scripted trtexec, which prints what was published."""
    says = PUBLISHED["trtexec"]["says"]
    board.instead_of(
        "trtexec", f'#!/bin/sh\necho "$@" >>{board.home}/asked\ncase "$1" in --load*) cat <<"END"\n{says}END\nesac\n'
    )
    (board.home / "shell").write_text(
        (board.home / "shell").read_text("ascii").replace("export ", f'export HOME="{board.home}" '), "ascii"
    )
    found = measure_by_tool(model, "jetson-orin-nano", device=str(board.address))
    assert found.latency_ms.value == pytest.approx(7.14139)
    assert found.tool_version == "100200"
    asked = (board.home / "asked").read_text("ascii").splitlines()
    assert [line.split("=")[0] for line in asked] == ["--onnx"] + ["--loadEngine"] * found.processes
    assert f"--timingCacheFile={board.home}/.cache/edgekd/trtexec.cache" in asked[0]
    assert board.left() == []


def test_the_option_stands_for_one_model_elsewhere(model: Path) -> None:
    for words in ([str(model), str(model)], [str(model)]):
        done = CliRunner().invoke(app, ["profile", *words, "--by-tool"])
        assert done.exit_code == 2
        assert "times one model at a time" in done.output or "goes with a --device elsewhere" in done.output
