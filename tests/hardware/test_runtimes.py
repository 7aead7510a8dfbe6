"""What every runtime promises: it opens, describes, runs, closes, and says in one sentence what it cannot do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import onnx_models
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import ConfigError, UnavailableError
from edgekd.hardware.profile import load_profile
from edgekd.hardware.runtime import Session, Tensor, check_feeds, numeric, open_session
from edgekd.hardware.specs import OnnxRuntimeSpec, Runnable

PROFILE = load_profile("local-cpu")
WEIGHT = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
X = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)
NAMES = ("onnxruntime", "openvino", "litert")
PACKAGES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "litert": "ai_edge_litert"}


def model(runtime: str, folder: Path) -> Path:
    """X [batch, 8] times a matrix, in the format of the runtime."""
    if runtime == "litert":
        from helpers.tflite_models import linear

        return linear(WEIGHT.T, folder / "m.tflite")
    return onnx_models.linear(WEIGHT, folder / "m.onnx")


@pytest.fixture(params=NAMES)
def spec(request: pytest.FixtureRequest) -> Runnable:
    pytest.importorskip(PACKAGES[request.param])
    return PROFILE.runtime(request.param)


@pytest.fixture
def session(spec: Runnable, tmp_path: Path) -> Session:
    return open_session(model(spec.name, tmp_path), spec)


def test_it_describes_what_it_takes_and_gives(session: Session) -> None:
    described = session.describe()
    (x,), (y,) = described.inputs, described.outputs
    assert (x.name, x.dtype, x.shape[1]) == ("x", "float32", 8)
    assert isinstance(x.shape[0], str)  # the batch is free
    assert y.shape[1] == 3
    assert described.details["version"]


def test_it_answers_any_batch_and_again(session: Session) -> None:
    for x in (X[:1], X, X[:2]):
        (answer,) = session.run({"x": x})
        np.testing.assert_allclose(answer, x @ WEIGHT, rtol=1e-4, atol=1e-5)


def test_an_answer_stays_what_it_was_when_the_next_one_comes(session: Session) -> None:
    """Runtimes that give a view of their own memory would change it."""
    (first,) = session.run({"x": X})
    kept = first.copy()
    session.run({"x": 2 * X})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("feeds", "says"),
    [
        ({}, r"m: input 'x' gets nothing; given: nothing"),
        ({"x": X, "z": X}, r"m: has no input 'z'; its inputs: x float32"),
        ({"x": X[:, :7]}, r"m: x float32 \[.*, 8\] is given the shape \[4, 7\]"),
        ({"x": X[0]}, r"m: x float32 \[.*, 8\] is given the shape \[8\]"),
        ({"x": X.astype(np.float64)}, r"m: x float32 \[.*, 8\] is given float64"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_runtime_makes_nonsense_of_it(
    session: Session, feeds: dict[str, np.ndarray], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        check_feeds("m", session.describe(), feeds)


def test_what_is_no_model_is_said_so(spec: Runnable, tmp_path: Path) -> None:
    suffix = spec.suffixes[-1]
    for content in (b"", b"hello, this is text"):
        path = tmp_path / f"bad{suffix}"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=rf"bad{suffix}: not a model that {spec.name} .* can read"):
            open_session(path, spec)
    with pytest.raises(ConfigError, match=r"gone: no such file"):
        open_session(tmp_path / "gone", spec)


def strange(runtime: str, folder: Path) -> Path:
    if runtime == "litert":
        from helpers.tflite_models import linear

        return linear(WEIGHT.T, folder / "m.tflite", custom="NoSuchOperator")
    return onnx_models.one_node("NoSuchOperator", folder / "m.onnx")


def test_an_operator_that_it_lacks_is_named(spec: Runnable, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"m\.\w+: .* lacks an operator: .*NoSuchOperator"):
        open_session(strange(spec.name, tmp_path), spec).run({"x": X})


def test_an_opset_of_the_future_is_named_with_the_newest_that_works(tmp_path: Path) -> None:
    path = onnx_models.one_node("Relu", tmp_path / "m.onnx", opset=99)
    with pytest.raises(UnavailableError, match=r"m\.onnx: opset 99, and onnxruntime \S+ reads up to \d+; export"):
        open_session(path, PROFILE.runtime("onnxruntime"))


def test_a_newer_onnx_format_is_named(tmp_path: Path) -> None:
    import onnx

    graph = onnx.load(onnx_models.one_node("Relu", tmp_path / "m.onnx"))
    graph.ir_version = 99
    onnx.save(graph, tmp_path / "m.onnx")
    with pytest.raises(UnavailableError, match=r"m\.onnx: ONNX IR version 99, and onnxruntime \S+ reads up to \d+"):
        open_session(tmp_path / "m.onnx", PROFILE.runtime("onnxruntime"))


def test_a_provider_that_is_not_there_is_an_error_and_no_silent_change(tmp_path: Path) -> None:
    spec = OnnxRuntimeSpec(provider="CUDAExecutionProvider", dialect=PROFILE.runtime().dialect)
    with pytest.raises(UnavailableError, match=r"has no CUDAExecutionProvider here, only .*CPUExecutionProvider"):
        open_session(model("onnxruntime", tmp_path), spec)


def test_tensorrts_provider_is_told_of_a_graph_that_has_its_scales(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a pretended provider: none was there."""
    import onnxruntime as ort

    asked = []

    class Session:
        def __init__(self, *_: Any, **told: Any) -> None:
            asked.append((told["providers"], told["provider_options"]))

        def get_providers(self) -> list[str]:
            return ["TensorrtExecutionProvider"]

        def get_outputs(self) -> list[Any]:
            return []

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["TensorrtExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", Session)
    spec = load_profile("nvidia-tensorrt").runtime()
    for kind in ("Relu", "QuantizeLinear"):
        (tmp_path / f"{kind}.onnx").write_bytes(kind.encode())
        open_session(tmp_path / f"{kind}.onnx", spec)
    provider = ["TensorrtExecutionProvider"]
    assert asked == [(provider, [{}]), (provider, [{"trt_int8_enable": "1"}])]


def test_a_runtime_that_is_not_installed_says_how_to_get_it(
    spec: Runnable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"No module named {PACKAGES[spec.name]!r}")

    monkeypatch.setattr("edgekd.hardware.runtime.import_module", absent)
    with pytest.raises(UnavailableError, match=rf"runtime {spec.name} is not installed.*pip install .*{spec.name}"):
        open_session(model(spec.name, tmp_path), spec)


def test_runtimes_agree_on_one_file(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = onnx_models.stack_of(3, tmp_path / "m.onnx")
    x = np.random.default_rng(2).standard_normal((2, 256)).astype(np.float32)
    one, other = (open_session(path, PROFILE.runtime(name)).run({"x": x})[0] for name in ("onnxruntime", "openvino"))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_with_one_thread_it_runs_in_the_thread_that_calls_it(spec: Runnable, tmp_path: Path) -> None:
    """All ratios rest on it: they are of the CPU time of that thread."""
    if spec.name == "litert":
        from helpers.tflite_models import linear

        path, x = linear(np.ones((512, 512), np.float32), tmp_path / "m.tflite"), np.ones((256, 512), np.float32)
    else:
        path, x = onnx_models.stack_of(16, tmp_path / "m.onnx", width=512), np.ones((64, 512), np.float32)
    session = open_session(path, spec)
    session.run({"x": x})
    thread, process = time.thread_time(), time.process_time()
    for _ in range(20):
        session.run({"x": x})
    assert time.thread_time() - thread > 0.8 * (time.process_time() - process)


def test_what_fails_while_it_runs_is_told_with_what_it_was_given(tmp_path: Path) -> None:
    """An export whose graph fixes the batch that its input leaves free."""
    shape = numpy_helper.from_array(np.array([1, 8]), "shape")
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [shape],
    )
    session = open_session(onnx_models.save(graph, tmp_path / "m.onnx"), PROFILE.runtime())
    session.run({"x": X[:1]})
    with pytest.raises(ConfigError, match=r"m\.onnx: cannot run on x float32 \[4, 8\]: .*; its graph may fix a shape"):
        session.run({"x": X})


@pytest.mark.parametrize("dtype", ["string", "seq(tensor(float))", "bfloat16", "object"])
def test_what_is_no_number_is_not_fed(dtype: str) -> None:
    with pytest.raises(ConfigError, match=r"edgekd feeds numbers that numpy knows"):
        numeric(Tensor("x", dtype, (1,)))
