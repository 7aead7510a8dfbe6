"""One quantised graph in every runtime that takes its dialect: the same answers, but for where each rounds."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers import compiled
from onnx import TensorProto, helper

from edgekd.data.feeds import laid_out
from edgekd.deploy import exporter, reference
from edgekd.deploy.exporter import Compiled, Deployable
from edgekd.deploy.given import float_answers
from edgekd.deploy.proof import step_of
from edgekd.deploy.reference import Reference
from edgekd.hardware.answering import predict
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.profile import load_profile
from edgekd.hardware.runtime import open_session
from edgekd.hardware.specs import CompilerSpec, RuntimeSpec
from edgekd.quant.onnx_ptq import quantise

pytest.importorskip("openvino")
pytest.importorskip("ai_edge_litert")
pytest.importorskip("tflite_micro")
OWN = load_profile("ethos-u55-128").runtimes[0].dialect.on(cpu())  # int8, from the pixels to the logits
HERE = [load_profile("local-cpu").runtime(name) for name in ("onnxruntime", "openvino", "litert")]
ELSEWHERE = ["ethos-u55-128", "cortex-m7"]


def hub_of(folder: Path) -> Deployable:
    """A net that learnt digits, in int8, with 256 pictures that it has not seen."""
    model, feeds, described = compiled.cnn_of_digits(folder)
    quantise(model, feeds, OWN, folder / "int8.onnx")
    known = Reference(feeds, float_answers(folder / "int8.onnx", feeds), float_answers(model, feeds))
    reference.write(known, folder)
    return Deployable(folder / "int8.onnx", folder / reference.FILE, described, {}, True)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Deployable:
    return hub_of(tmp_path_factory.mktemp("cnn"))


def answers(hub: Deployable, spec: RuntimeSpec, folder: Path) -> np.ndarray:
    """What the exported file says of the first 64 pictures [64, 10]."""
    folder.mkdir()
    made: Any = exporter.find(spec.exporter)
    done = made.export(hub, spec, compiled.work(folder))
    assert done.refused is None
    assert done.entry is not None
    feeds = {
        one.name: laid_out(reference.read(hub.reference).feeds[one.name][:64], one) for one in done.signature.inputs
    }
    if isinstance(spec, CompilerSpec):
        session = made.opened(Compiled(folder / "out", spec, done.signature))
    else:
        session = open_session(folder / "out" / done.entry, spec)
    return predict("hub", session, feeds, batch=64 if isinstance(spec, CompilerSpec) else 1)


def same(found: Mapping[str, np.ndarray], step: float) -> None:
    for (one, a), (other, b) in combinations(found.items(), 2):
        where = f"{one} and {other}"
        assert (a.argmax(1) == b.argmax(1)).mean() >= 0.98, where
        assert np.percentile(np.abs(a - b), 99) <= 2.001 * step, where
        assert np.ptp(a) > 50 * step


@pytest.mark.slow
def test_all_runtimes_of_a_cnn_agree_within_two_steps_each_with_each(hub: Deployable, tmp_path: Path) -> None:
    known = reference.read(hub.reference).answers[:64]
    specs = [*HERE, *(load_profile(name).runtimes[0] for name in ELSEWHERE)]
    found = {spec.name: answers(hub, spec, tmp_path / spec.name) for spec in specs}
    same({"the graph itself": known} | found, step_of(onnx.load(hub.onnx), known))


@pytest.mark.skipif(find_spec("onnxruntime_qnn") is None, reason="needs edgekd[qnn]")
@pytest.mark.nightly
def test_the_htps_simulator_agrees_with_a_cnns_graph_within_two_steps(hub: Deployable, tmp_path: Path) -> None:
    known = reference.read(hub.reference).answers[:64]
    found = answers(hub, load_profile("qualcomm-htp-v75").runtimes[0], tmp_path / "qnn")
    same({"the graph itself": known, "the simulator": found}, step_of(onnx.load(hub.onnx), known))


@pytest.mark.nightly
def test_rockchips_simulator_agrees_with_a_cnns_graph_within_two_steps(
    hub: Deployable, tmp_path: Path, rknn: None
) -> None:
    known = reference.read(hub.reference).answers[:64]
    found = answers(hub, load_profile("rockchip-rk3588").runtimes[0], tmp_path / "rknn")
    same({"the graph itself": known, "the simulator": found}, step_of(onnx.load(hub.onnx), known))


def test_every_layer_in_litert_is_within_a_step_of_the_graphs_where_both_read_the_same_integers(tmp_path: Path) -> None:
    """
    So what a whole net is apart by is what its own layers make of such steps: that of compiled.digits_hubs, whose last
    layer was fitted to random features, makes about 12 steps of one in each of its inputs.
    """
    hub = compiled.digits_hubs(tmp_path)(OWN)
    (file,) = exporter.find("litert").write(hub, HERE[2], tmp_path).files
    seen = [in_litert(tmp_path / file, x[None]) for x in reference.read(hub.reference).feeds["pixels"][:32]]
    graph, names = cut_open(onnx.load(hub.onnx), seen[0])
    assert len(names) == 7  # the pixels, three convolutions, the addition, the pool, the last layer
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for name in names:
        expected = [session.run([name], {f"{one}.in": x[one] for one in names} | {"pixels": x["pixels"]}) for x in seen]
        apart = np.abs(np.stack([x[name] for x in seen]).astype(int) - np.stack(expected)[:, 0].astype(int))
        assert apart.max() <= 1, name
        assert (apart > 0).mean() < 0.03, name


def in_litert(file: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor of the file for one picture, by the name that it has in the graph; images in NCHW."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(file), experimental_preserve_all_tensors=True, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x.transpose(0, 2, 3, 1))
    interpreter.invoke()
    found = {}
    for told in interpreter.get_tensor_details():
        values = interpreter.get_tensor(told["index"])
        found[told["name"].removesuffix(".pooled")] = values.transpose(0, 3, 1, 2) if values.ndim == 4 else values
    return found


def cut_open(graph: onnx.ModelProto, known: Mapping[str, np.ndarray]) -> tuple[onnx.ModelProto, list[str]]:
    """The graph with each quantised tensor of `known` an output, and an input `NAME.in` for the layers that read it."""
    makers = [node.output[0] for node in graph.graph.node if node.op_type == "QuantizeLinear"]
    names = [name for name in makers if name in known]
    for node in graph.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in names:
            node.input[0] += ".in"
    for name in names:
        graph.graph.output.append(helper.make_tensor_value_info(name, TensorProto.INT8, None))
        graph.graph.input.append(helper.make_tensor_value_info(f"{name}.in", TensorProto.INT8, known[name].shape))
    return graph, names
