"""TensorRT's files: what its parser takes, what is refused before it is asked, and what the device is left to do."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from helpers import compiled, cuda
from onnx import helper

from edgekd.deploy import exporter, fusion
from edgekd.deploy.exporter import Deployable
from edgekd.errors import ConfigError, UnsupportedError
from edgekd.exporters import build_engine
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.profile import load_profile
from edgekd.hardware.specs import CompilerSpec, OnnxRuntimeSpec
from edgekd.quant.onnx_ptq import quantise

U8 = Dialect(activation="uint8-affine", reduced_range=False)
S8 = Dialect(activation="int8-symmetric", reduced_range=False)


def spec_of(profile: str) -> CompilerSpec:
    (spec,) = load_profile(profile).runtimes
    assert isinstance(spec, CompilerSpec)
    return spec


JETSON, RTX = spec_of("jetson-orin-nano"), spec_of("nvidia-rtx")
Hubs = Callable[[Dialect | None], Deployable]


@pytest.fixture(scope="module")
def hubs(tmp_path_factory: pytest.TempPathFactory) -> Hubs:
    return compiled.digits_hubs(tmp_path_factory.mktemp("hubs"))


@pytest.mark.parametrize("spec", [JETSON, RTX], ids=lambda spec: str(spec.name))
def test_the_dialect_of_cpus_is_refused_before_tensorrt_is_even_looked_for(
    hubs: Hubs, tmp_path: Path, spec: CompilerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)  # as if not installed: asking it would be another error
    sentence = (
        rf"exporter {spec.name}: 'pixels' is quantised as uint8, a dialect of CPUs; "
        "TensorRT takes int8 with zero points of 0, and biases in float: quantise in the dialect int8-symmetric"
    )
    with pytest.raises(UnsupportedError, match=sentence):
        exporter.find(spec.exporter).export(hubs(U8), spec, compiled.work(tmp_path))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_zero_point_and_a_bias_of_32_bits_are_each_named(hubs: Hubs, tmp_path: Path) -> None:
    affine = Dialect(activation="int8-affine", reduced_range=False, logits="quantised", float_operators=())
    with pytest.raises(UnsupportedError, match="is quantised as int8 with zero point -128, a dialect of CPUs"):
        exporter.find("tensorrt").export(hubs(affine), JETSON, compiled.work(tmp_path))
    graph = onnx.load(hubs(S8).onnx)
    bias = next(tensor for tensor in graph.graph.initializer if tensor.name.endswith("scale"))
    whole = helper.make_tensor("bias_q", onnx.TensorProto.INT32, [1], [3])
    graph.graph.initializer.append(whole)
    graph.graph.node.append(helper.make_node("DequantizeLinear", ["bias_q", bias.name], ["bias_f"]))
    onnx.save(graph, tmp_path / "model.onnx")
    with pytest.raises(UnsupportedError, match="'bias_q' is quantised as int32"):
        exporter.find("tensorrt").write(replace(hubs(S8), onnx=tmp_path / "model.onnx"), JETSON, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch": "4"}, "no option 'batch'; known: max_batch, workspace_mib, fp16, sparse$"),
        ({"compute_capabilities": "8.9"}, "no option 'compute_capabilities'"),
        ({"fp16": "yes"}, "fp16: 'yes' is neither true nor false"),
        ({"sparse": "2:4"}, "sparse: '2:4' is neither true nor false"),
        ({"max_batch": "many"}, "max_batch: 'many' is no whole number above 0"),
    ],
)
def test_an_option_that_is_none_is_named(hubs: Hubs, tmp_path: Path, options: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        exporter.find("tensorrt").write(hubs(S8), JETSON.model_copy(update={"options": options}), tmp_path)


def test_free_axes_get_a_least_a_usual_and_a_largest_shape(hubs: Hubs, tmp_path: Path) -> None:
    exporter.find("tensorrt").write(hubs(S8), JETSON, tmp_path)
    told = json.loads((tmp_path / "engine.json").read_text("utf-8"))
    assert told["inputs"] == {"pixels": {"min": [1, 1, 28, 28], "opt": [1, 1, 28, 28], "max": [8, 1, 28, 28]}}


def test_a_gpu_that_rtx_does_not_build_for_is_named(hubs: Hubs, tmp_path: Path) -> None:
    """A Jetson Orin is 8.7: no RTX target."""
    pytest.importorskip("tensorrt_rtx")
    orin = RTX.model_copy(update={"options": {"compute_capabilities": "8.7"}})
    with pytest.raises(UnsupportedError, match=r"compute capability 8\.7: TensorRT for RTX .* builds for .*SM86 SM89"):
        exporter.find("tensorrt-rtx").export(hubs(S8), orin, compiled.work(tmp_path))


def test_without_a_gpu_the_bundles_script_builds_the_same_engine_and_says_that_it_measured_none(
    hubs: Hubs, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    exporter.find("tensorrt-rtx").export(hubs(S8), RTX, compiled.work(tmp_path))
    script, engine = tmp_path / "out" / "build_engine.py", tmp_path / "out" / "model.plan"
    size = engine.stat().st_size
    engine.unlink()
    only = subprocess.run([sys.executable, script, "--build-only"], capture_output=True, text=True, check=True)
    assert "model.plan:" in only.stdout
    assert engine.stat().st_size == size
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert "no CUDA device that runs this engine was found: it is built, and not measured" in done.stderr
    assert not (tmp_path / "out" / "engine-report.json").exists()


def test_an_engine_is_timed_by_both_clocks_and_what_its_inspector_says_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a pretended GPU: none was there."""
    library = cuda.Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    settings = {"inputs": {"pixels": {"min": [1, 1, 28, 28], "opt": [2, 1, 28, 28], "max": [8, 1, 28, 28]}}}
    layers, told = build_engine.measure(cuda.Trt(library), b"engine", settings, runs=9)
    assert layers == cuda.LAYERS
    assert (told["kind"], told["n"]) == ("measured", 9)
    assert told["engine_p50_ms"] == cuda.ENGINE_MS * (build_engine.WARM_UP + 5)  # the middle one past the warm-up
    assert 0 < told["latency_p50_ms"] <= told["latency_p90_ms"]
    one = ["copy 1", "cudaEventRecord", "execute", "cudaEventRecord", "copy 2", "cudaStreamSynchronize"]
    assert library.called[-2 * len(one) :] == 2 * one
    assert {len(room) for room in library.rooms.values()} == {2 * 28 * 28 * 4, 80}  # bytes of inputs and of answers


def test_a_failure_of_cuda_is_told_with_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    library = cuda.Library()
    library.cudaEventCreate = lambda _: 700  # type: ignore[attr-defined]
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    with pytest.raises(ValueError, match="cudaEventCreate: CUDA error 700"):
        build_engine.Cuda()


def test_zeros_of_two_in_four_may_be_used_unless_the_profile_says_no(hubs: Hubs, tmp_path: Path) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    for options, wanted in (({}, ["SPARSE_WEIGHTS"]), ({"sparse": "false"}, [])):
        exporter.find("tensorrt").write(hubs(S8), JETSON.model_copy(update={"options": options}), tmp_path)
        told = json.loads((tmp_path / "engine.json").read_text("utf-8"))
        assert build_engine.flags(rtx, told) == wanted
        assert build_engine.build(rtx, tmp_path, told | {"library": "tensorrt_rtx", "compute_capabilities": ["8.6"]})


def test_of_a_provider_that_keeps_no_graph_the_files_own_coverage_is_told(
    hubs: Hubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a pretended provider: none was there."""
    monkeypatch.setattr(fusion, "OnnxRuntimeSession", lambda model, _: model)
    spec = load_profile("nvidia-tensorrt").runtime()
    assert isinstance(spec, OnnxRuntimeSpec)
    for dialect, integer in ((S8, 4), (None, 0)):
        _, covered = fusion.in_onnxruntime(hubs(dialect).onnx, spec)
        assert (covered.integer, covered.total) == (integer, 4)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["resnet", "mobilenet-v2", "vit", "bert"])
def test_the_families_of_nets_are_parsed_and_built_in_the_symmetric_dialect_and_refused_in_a_cpus(
    tmp_path: Path, family: str
) -> None:
    pytest.importorskip("tensorrt_rtx")
    model, feeds, described = compiled.family(family, tmp_path)
    for dialect in (S8, U8):
        quantise(model, feeds, dialect, tmp_path / f"{dialect.activation}.onnx")
    hub = Deployable(tmp_path / "int8-symmetric.onnx", tmp_path / "none", described, {}, False)
    done = exporter.find("tensorrt-rtx").export(hub, RTX, compiled.work(tmp_path))
    assert done.entry == "model.plan"
    assert done.coverage.integer > 0.5 * done.coverage.total
    with pytest.raises(UnsupportedError, match="a dialect of CPUs"):
        exporter.find("tensorrt-rtx").write(replace(hub, onnx=tmp_path / "uint8-affine.onnx"), RTX, tmp_path / "out")


def test_a_float_graph_is_built_too_and_no_layer_counts_as_integer(hubs: Hubs, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    done = exporter.find("tensorrt-rtx").export(hubs(None), RTX, compiled.work(tmp_path))
    assert (done.coverage.integer, done.coverage.total) == (0, 4)
