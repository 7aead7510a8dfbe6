"""Ethos-U's files: whole on the NPU or refused, the integers that were proved, and an estimate that says of what."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from helpers import compiled
from onnx import TensorProto, helper

from edgekd.deploy import exporter
from edgekd.deploy.exporter import Deployable
from edgekd.errors import ConfigError, UnsupportedError
from edgekd.exporters import ethos_u
from edgekd.exporters.tflite.file import float_file
from edgekd.exporters.tflite.integers import operators, packed, without_floats
from edgekd.exporters.tflite.operators import MOVERS, OPERATORS
from edgekd.exporters.tflite.translate import Translator
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.profile import load_profile
from edgekd.hardware.specs import CompilerSpec
from edgekd.quant.onnx_ptq import quantise

pytest.importorskip("ethosu")
Hubs = Callable[[Dialect | None], Deployable]


def spec_of(profile: str) -> CompilerSpec:
    (spec,) = load_profile(profile).runtimes
    assert isinstance(spec, CompilerSpec)
    return spec


U55 = spec_of("ethos-u55-128")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Deployable:
    return compiled.digits_hubs(tmp_path_factory.mktemp("hubs"))(U55.dialect.on(cpu()))


@pytest.fixture(scope="module")
def with_floats(hub: Deployable) -> bytes:
    return float_file("ethos-u", hub)


@pytest.mark.parametrize("profile", ["ethos-u55-128", "ethos-u65-256", "ethos-u85-256"])
def test_the_whole_net_is_one_operator_of_the_npu_and_the_estimate_says_of_what(
    hub: Deployable, tmp_path: Path, profile: str
) -> None:
    spec = spec_of(profile)
    done = exporter.find("ethos-u").export(hub, spec, compiled.work(tmp_path))
    assert [name for name, _ in operators((tmp_path / "out" / "model_vela.tflite").read_bytes())] == ["ethos-u"]
    told = json.loads((tmp_path / "out" / "estimate.json").read_text("utf-8"))
    assert told["latency_kind"] == "estimated"
    assert told["cycles"] > 0
    assert told["latency_ms"] == pytest.approx(told["cycles"] / told["clock_mhz"] / 1e3, rel=1e-3)
    assert told["accelerator"].lower().replace("_", "-") == spec.options["accelerator-config"]
    assert (told["system_config"], told["memory_mode"]) == (spec.options["system-config"], spec.options["memory-mode"])
    assert told["vela"]
    assert told["cpu_operators"] == []
    assert done.parity is not None
    assert done.parity.top1_agreement >= 0.98


def test_an_estimate_is_the_same_twice(hub: Deployable, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        exporter.find("ethos-u").write(hub, U55, tmp_path / name)
    for file in ("model_vela.tflite", "estimate.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_without_floats_at_its_edges_a_file_computes_the_same_integers(with_floats: bytes) -> None:
    from ai_edge_litert.interpreter import Interpreter

    file, (pixels,), (logits,) = without_floats(with_floats)
    assert {"QUANTIZE", "DEQUANTIZE"} & {name for name, _ in operators(with_floats)}
    assert not {"QUANTIZE", "DEQUANTIZE"} & {name for name, _ in operators(file)}
    both = [Interpreter(model_content=content) for content in (with_floats, file)]
    for one in both:
        one.allocate_tensors()
    for x in np.random.default_rng(0).integers(-128, 128, (20, 1, 28, 28, 1)).astype(np.int8):
        feeds = (pixels.scale * (x.astype(np.float32) - pixels.zero_point), x)
        for one, feed in zip(both, feeds, strict=True):
            one.set_tensor(one.get_input_details()[0]["index"], feed.astype(one.get_input_details()[0]["dtype"]))
            one.invoke()
        real, integer = (one.get_tensor(one.get_output_details()[0]["index"]) for one in both)
        np.testing.assert_allclose(logits.scale * (integer.astype(np.float64) - logits.zero_point), real, rtol=1e-5)


def test_operators_that_stay_on_the_cpu_are_refused_unless_they_are_allowed(with_floats: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"QUANTIZE \(.*\) stays on the CPU, and 2 operators do in all"):
        ethos_u.compiled(with_floats, U55, tmp_path)
    assert not list(tmp_path.iterdir())
    allowed = U55.model_copy(update={"options": U55.options | {"cpu-operators": "allowed"}})
    assert len(ethos_u.compiled(with_floats, allowed, tmp_path)["cpu_operators"]) == 2


def test_a_file_of_which_vela_takes_nothing_is_not_infinitely_fast(tmp_path: Path) -> None:
    scale, zero = (
        helper.make_tensor("s", TensorProto.FLOAT, [], [0.1]),
        helper.make_tensor("z", TensorProto.INT8, [], [0]),
    )
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
    graph = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], [scale, zero]))
    file = Translator(onnx.shape_inference.infer_shapes(graph), OPERATORS, MOVERS).file()
    allowed = U55.model_copy(update={"options": U55.options | {"cpu-operators": "allowed"}})
    with pytest.raises(UnsupportedError, match="Vela put nothing on the NPU: it counts no cycles"):
        ethos_u.compiled(file, allowed, tmp_path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({key: value for key, value in U55.options.items() if key != "memory-mode"}, "lacks the option 'memory-mode'"),
        (U55.options | {"fast": "yes"}, "no option 'fast'; known: accelerator-config, config"),
        (U55.options | {"system-config": "Ethos_U99"}, "exporter ethos-u: Vela: .*Ethos_U99"),
    ],
)
def test_options_that_would_be_another_device_are_refused(
    hub: Deployable, tmp_path: Path, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        exporter.find("ethos-u").write(hub, U55.model_copy(update={"options": options}), tmp_path)


def test_a_float_graph_is_refused(hub: Deployable, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    floats = compiled.digits_hubs(tmp_path_factory.mktemp("float"))(None)
    with pytest.raises(UnsupportedError, match="exporter ethos-u: writes int8 files only; this graph is not quantised"):
        exporter.find("ethos-u").write(replace(hub, onnx=floats.onnx), U55, tmp_path)


@pytest.mark.slow
def test_a_transformer_is_refused_with_the_layer_that_int8_tflite_is_not_written_for(tmp_path: Path) -> None:
    model, feeds, described = compiled.family("vit", tmp_path)
    quantise(model, feeds, U55.dialect.on(cpu()), tmp_path / "int8.onnx")
    hub = Deployable(tmp_path / "int8.onnx", tmp_path / "none", described, {}, False)
    with pytest.raises(
        UnsupportedError, match=r"exporter ethos-u: layer '.+' \(.+\): this operator is not known to the"
    ):
        exporter.find("ethos-u").write(hub, U55, tmp_path)


def test_an_edge_that_something_else_reads_as_float_is_refused(with_floats: bytes) -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(with_floats, 0))
    (graph,) = model.subgraphs
    again = copy.deepcopy(next(op for op in graph.operators if op.inputs[0] == graph.inputs[0]))
    graph.operators.append(again)
    with pytest.raises(UnsupportedError, match="tensor 'pixels' at the edge is read as float too; quantise all that"):
        without_floats(packed(model))


def test_edges_that_are_not_int8_are_refused(with_floats: bytes) -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(with_floats, 0))
    (graph,) = model.subgraphs
    graph.tensors[graph.operators[-1].inputs[0]].type = schema.TensorType.INT16
    with pytest.raises(UnsupportedError, match="at the edge is not int8; quantise inputs and logits"):
        without_floats(packed(model))
