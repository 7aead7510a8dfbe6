"""What every exporter keeps to, whatever it writes, in every dialect that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import digits_net, onnx_models
from onnx import helper

from edgekd.data import signature
from edgekd.data.feeds import laid_out
from edgekd.data.signature import Signature, TensorIn, TensorOut
from edgekd.data.stages import Preprocess
from edgekd.deploy import exporter, reference
from edgekd.deploy.exporter import Deployable, Exported, Parity
from edgekd.deploy.given import float_answers
from edgekd.deploy.proof import signal_to_noise_db
from edgekd.deploy.reference import Reference
from edgekd.deploy.stages import EXPORT, Export
from edgekd.engine.events import Progress, Silent
from edgekd.engine.stage import Work, key_of, recipe
from edgekd.errors import ConfigError, UnsupportedError
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.profile import load_profile
from edgekd.hardware.runtime import open_session
from edgekd.hardware.specs import OnnxRuntimeSpec, OpenVinoSpec, Runnable
from edgekd.quant.onnx_ptq import quantise

pytest.importorskip("openvino")
pytest.importorskip("ai_edge_litert")
HERE = load_profile("local-cpu")
FREE = [spec.model_copy(update={"batch": None}) if isinstance(spec, OpenVinoSpec) else spec for spec in HERE.runnable]
REDUCED = not cpu().has_int8_dot  # 8-bit weights overflow 16 bits there, whatever the activations
U8 = Dialect(activation="uint8-affine", reduced_range=REDUCED)
DIALECTS = {
    "u8": U8,
    "u8, quantised logits": U8.model_copy(update={"logits": "quantised"}),
    "s8": Dialect(activation="int8-affine", reduced_range=False, logits="quantised", float_operators=()),
}
TAKES = {"onnxruntime": DIALECTS, "openvino": DIALECTS, "litert": {"s8": DIALECTS["s8"]}}
OWN = {"onnxruntime": "u8", "openvino": "u8", "litert": "s8"}  # what profiles give them on x86
OVERFLOWS = {"s8 symmetric, 8-bit weights": Dialect(activation="int8-symmetric", reduced_range=False)}
PAIRS = [
    pytest.param(spec, name, id=f"{spec.name}, {name}", marks=[] if name == OWN[spec.name] else pytest.mark.slow)
    for spec in FREE
    for name in TAKES[spec.name]
]
X = digits_net.digits()[0][-400:].transpose(0, 3, 1, 2).astype(np.float32) / 255
SIGNATURE = Signature(
    inputs=(TensorIn(name="pixels", shape=("batch", 1, 28, 28), preprocess=Preprocess(mean=(0.0,), std=(1.0,))),),
    outputs=(TensorOut(name="logits"),),
)


@pytest.fixture(scope="module")
def hubs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Deployable]:
    """The digits net in a dialect, or in float, made once."""
    folder = tmp_path_factory.mktemp("hubs")
    model = digits_net.net(folder / "float.onnx")
    floats = float_answers(model, {"pixels": X})
    made: dict[str, Deployable] = {}

    def hub(name: str) -> Deployable:
        if name not in made:
            place = folder / name
            place.mkdir()
            graph = model
            if name != "float":
                graph = place / "model.onnx"
                quantise(model, {"pixels": X}, (DIALECTS | OVERFLOWS)[name], graph)
            answers = float_answers(graph, {"pixels": X})
            reference.write(Reference({"pixels": X}, answers, None if name == "float" else floats), place)
            made[name] = Deployable(graph, place / reference.FILE, SIGNATURE, {"edgekd.model": "digits"}, True)
        return made[name]

    return hub


def export(deployable: Deployable, spec: Runnable, folder: Path) -> Exported:
    (folder / "out").mkdir()
    (folder / "scratch").mkdir()
    work = Work(folder / "out", folder / "scratch", Progress(Silent()))
    return exporter.find(spec.exporter).export(deployable, spec, work)


def run(done: Exported, spec: Runnable, folder: Path, x: np.ndarray) -> np.ndarray:
    session = open_session(folder / "out" / str(done.entry), spec)
    (tensor,) = done.signature.inputs
    return session.run({tensor.name: laid_out(x, tensor)})[0]


@pytest.mark.parametrize(("spec", "dialect"), PAIRS)
def test_the_file_answers_as_the_quantised_graph_does_and_as_the_float_one_nearly(
    hubs: Callable[[str], Deployable], tmp_path: Path, spec: Runnable, dialect: str
) -> None:
    deployable = hubs(dialect)
    done = export(deployable, spec, tmp_path)
    known = reference.read(deployable.reference)
    answers = np.concatenate([run(done, spec, tmp_path, row[None]) for row in X[:100]])
    assert known.floats is not None
    assert signal_to_noise_db(known.floats[:100], answers) > 16
    assert (answers.argmax(1) == known.answers[:100].argmax(1)).mean() >= 0.98
    assert done.refused is None
    assert done.parity is not None
    assert done.parity.samples == len(X)
    assert _close(done.parity)
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(done.files)


def _close(parity: Parity) -> bool:
    """Within two steps, or no further from the float graph than the file is: OpenVINO rounds sums less often."""
    assert parity.steps_p99 is not None
    assert parity.float_snr_db is not None
    assert parity.file_float_snr_db is not None
    return parity.steps_p99 <= 2.001 or parity.float_snr_db >= parity.file_float_snr_db - 0.5


@pytest.mark.parametrize("spec", FREE, ids=lambda spec: str(spec.name))
def test_the_batch_stays_free_where_the_format_allows(
    hubs: Callable[[str], Deployable], tmp_path: Path, spec: Runnable
) -> None:
    done = export(hubs("s8"), spec, tmp_path)
    (tensor,) = done.signature.inputs
    if spec.name == "litert":
        assert tensor.shape == (1, 28, 28, 1)
        assert tensor.layout == "NHWC"
        return
    assert tensor.shape == ("batch", 1, 28, 28)
    for batch in (1, 3, 7):
        assert run(done, spec, tmp_path, X[:batch]).shape == (batch, 10)


def test_openvinos_batch_is_fixed_where_the_profile_says_so(hubs: Callable[[str], Deployable], tmp_path: Path) -> None:
    spec = HERE.runtime("openvino")
    done = export(hubs("u8"), spec, tmp_path)
    assert done.signature.inputs[0].shape == (1, 1, 28, 28)
    described = open_session(tmp_path / "out" / str(done.entry), spec).describe()
    assert described.inputs[0].shape == (1, 1, 28, 28)


@pytest.mark.parametrize("spec", FREE, ids=lambda spec: str(spec.name))
def test_other_settings_are_another_key(spec: Runnable) -> None:
    def key(runtime: Runnable) -> str:
        return key_of(recipe(EXPORT, Export(runtime=runtime, cpu=cpu(), model="m"), {"hub": "digest"}))

    changed = spec.model_copy(update={"threads": 2})
    dialect = spec.dialect.model_copy(update={"reduced_range": spec.dialect.reduced_range is not True})
    keys = {key(spec), key(changed), key(spec.model_copy(update={"dialect": dialect}))}
    assert len(keys) == 3


@pytest.mark.skipif(not REDUCED, reason="this CPU adds 8-bit products exactly")
def test_a_runtime_whose_kernels_overflow_is_refused(hubs: Callable[[str], Deployable], tmp_path: Path) -> None:
    done = export(hubs("s8 symmetric, 8-bit weights"), HERE.runtime("onnxruntime"), tmp_path)
    assert done.refused is not None
    assert "the runtime" in done.refused


@pytest.mark.parametrize("spec", FREE, ids=lambda spec: str(spec.name))
def test_an_unknown_operator_is_named_with_its_layer(
    hubs: Callable[[str], Deployable], tmp_path: Path, spec: Runnable
) -> None:
    deployable = hubs("s8")
    strange = onnx_models.with_an_unknown_operator(deployable.onnx, tmp_path / "strange.onnx")
    with pytest.raises(UnsupportedError, match=r"(strange.*Frobnicate|Frobnicate.*strange)"):
        export(replace(deployable, onnx=strange), spec, tmp_path)


@pytest.mark.parametrize("spec", FREE, ids=lambda spec: str(spec.name))
def test_a_runtime_that_an_exporter_does_not_write_for_is_refused(
    hubs: Callable[[str], Deployable], tmp_path: Path, spec: Runnable
) -> None:
    other = next(one for one in FREE if one.name != spec.name)
    (tmp_path / "out").mkdir()
    work = Work(tmp_path / "out", tmp_path, Progress(Silent()))
    with pytest.raises(ConfigError, match=rf"exporter {spec.name}: writes files for {spec.name}, not for {other.name}"):
        exporter.find(spec.exporter).export(hubs("s8"), other, work)


def test_litert_says_that_it_writes_no_float_files(hubs: Callable[[str], Deployable], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="writes int8 files only; this graph is not quantised"):
        export(hubs("float"), HERE.runtime("litert"), tmp_path)


@pytest.mark.parametrize("spec", FREE[:2], ids=lambda spec: str(spec.name))
def test_a_float_file_answers_as_the_graph_does_and_no_layer_counts_as_integer(
    hubs: Callable[[str], Deployable], tmp_path: Path, spec: Runnable
) -> None:
    done = export(hubs("float"), spec, tmp_path)
    assert done.parity is not None
    assert done.parity.max_abs_diff < 1e-4
    assert (done.coverage.integer, done.coverage.total) == (0, 4)
    assert set(done.coverage.why.values()) == {"the graph is not quantised"}


def test_a_handful_of_samples_is_enough_to_prove_a_file(hubs: Callable[[str], Deployable], tmp_path: Path) -> None:
    known = reference.read(hubs("u8").reference)
    floats = None if known.floats is None else known.floats[:5]
    reference.write(Reference({"pixels": X[:5]}, known.answers[:5], floats), tmp_path)
    done = export(replace(hubs("u8"), reference=tmp_path / reference.FILE), HERE.runtime("onnxruntime"), tmp_path)
    assert done.parity is not None
    assert done.parity.samples == 5
    assert done.layers_snr_db


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [((4, 1, 28, 28), "has a batch of 4, only 1 is known"), (("b", 1, "h", 28), "leaves 'h' free")],
)
def test_litert_names_the_shapes_that_it_cannot_write(
    hubs: Callable[[str], Deployable], tmp_path: Path, shape: tuple[int | str, ...], sentence: str
) -> None:
    spec = SIGNATURE.inputs[0].model_copy(update={"shape": shape})
    other = replace(hubs("s8"), signature=SIGNATURE.model_copy(update={"inputs": (spec,)}))
    with pytest.raises(UnsupportedError, match=sentence):
        export(other, HERE.runtime("litert"), tmp_path)


def test_sixteen_bits_are_no_fault_of_the_export(hubs: Callable[[str], Deployable], tmp_path: Path) -> None:
    done = export(hubs("float"), HERE.runtime("openvino").model_copy(update={"precision": "bf16"}), tmp_path)
    assert done.parity is not None
    assert done.parity.top1_agreement >= 0.98
    assert done.refused is None


def test_layers_that_a_runtime_leaves_in_float_are_named_with_the_reason(
    hubs: Callable[[str], Deployable], tmp_path: Path
) -> None:
    spec = HERE.runtime("onnxruntime")
    assert isinstance(spec, OnnxRuntimeSpec)
    plain = export(hubs("u8"), spec.model_copy(update={"graph_optimization": "disabled"}), tmp_path)
    assert plain.coverage.integer == 0
    assert len(plain.coverage.left_float) == 4
    assert all(plain.coverage.why.values())


def test_a_layer_that_the_quantiser_skipped_is_said_to_read_floats(tmp_path: Path) -> None:
    model = onnx_models.stack_of(2, tmp_path / "stack.onnx")
    graph = onnx.load(model)
    graph.graph.node.insert(1, helper.make_node("Erf", ["x1"], ["bent"], name="bend"))
    graph.graph.node[2].input[0] = "bent"
    onnx.save(graph, model)
    x = np.random.default_rng(0).standard_normal((32, 256)).astype(np.float32)
    quantise(model, {"x": x}, U8, tmp_path / "q.onnx")
    quantised = onnx.load(tmp_path / "q.onnx")
    makers = {node.output[0]: node for node in quantised.graph.node}
    last = [node for node in quantised.graph.node if node.op_type == "MatMul"][-1]
    last.input[0] = makers[makers[last.input[0]].input[0]].input[0]  # its Q and DQ are gone
    onnx.save(quantised, tmp_path / "q.onnx")
    from edgekd.deploy.fusion import in_onnxruntime

    spec = HERE.runtime("onnxruntime")
    assert isinstance(spec, OnnxRuntimeSpec)
    _, covered = in_onnxruntime(tmp_path / "q.onnx", spec)
    assert len(covered.left_float) == 1
    assert "its input comes in float from Erf" in covered.why[covered.left_float[0]]


def test_the_signature_of_an_export_is_read_back(tmp_path: Path) -> None:
    signature.write(SIGNATURE, tmp_path)
    assert signature.read(tmp_path) == SIGNATURE


def test_an_input_that_no_layer_reads_is_no_input_of_the_openvino_file(tmp_path: Path) -> None:
    model = onnx.load(digits_net.net(tmp_path / "model.onnx"))
    model.graph.input.append(helper.make_tensor_value_info("idle", onnx.TensorProto.FLOAT, ["batch", 3]))
    onnx.save(model, tmp_path / "model.onnx")
    feeds: dict[str, np.ndarray] = {"pixels": X, "idle": np.zeros((len(X), 3), np.float32)}
    reference.write(Reference(feeds, float_answers(tmp_path / "model.onnx", feeds)), tmp_path)
    idle = TensorIn(name="idle", layout="any", shape=("batch", 3))
    both = SIGNATURE.model_copy(update={"inputs": (*SIGNATURE.inputs, idle)})
    deployable = Deployable(tmp_path / "model.onnx", tmp_path / reference.FILE, both, {"edgekd.model": "m"}, True)
    done = export(deployable, HERE.runtime("openvino"), tmp_path)
    assert [tensor.name for tensor in done.signature.inputs] == ["pixels"]
    assert done.parity is not None
    assert done.parity.top1_agreement == 1
