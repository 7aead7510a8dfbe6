"""Context binaries for the Hexagon HTP: whole or not at all, and what the simulator answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import onnxruntime
import pytest
from helpers import compiled

from edgekd.deploy import exporter, reference
from edgekd.deploy.exporter import Deployable
from edgekd.deploy.given import float_answers
from edgekd.deploy.reference import Reference
from edgekd.errors import ConfigError, UnsupportedError
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.profile import load_profile
from edgekd.hardware.specs import CompilerSpec
from edgekd.quant.onnx_ptq import quantise

Hubs = Callable[[Dialect | None], Deployable]
needs_qnn = pytest.mark.skipif(find_spec("onnxruntime_qnn") is None, reason="needs edgekd[qnn]")


def spec_of(architecture: str) -> CompilerSpec:
    (spec,) = load_profile(f"qualcomm-htp-v{architecture}").runtimes
    assert isinstance(spec, CompilerSpec)
    return spec


@pytest.fixture(scope="module")
def hubs(tmp_path_factory: pytest.TempPathFactory) -> Hubs:
    return compiled.digits_hubs(tmp_path_factory.mktemp("hubs"))


V75 = spec_of("75")
OWN = V75.dialect.on(cpu())


def test_float_graphs_and_other_architectures_are_refused(hubs: Hubs, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="writes quantised files only; this graph is not quantised"):
        exporter.find("qnn").write(hubs(None), V75, tmp_path)
    old = V75.model_copy(update={"options": {"htp_arch": "68"}})
    with pytest.raises(ConfigError, match="htp_arch: '68'; known: 73, 75, 79"):
        exporter.find("qnn").write(hubs(OWN), old, tmp_path)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [((4, 1, 28, 28), "has a batch of 4, only 1 is known"), (("b", 1, "h", 28), "leaves 'h' free")],
)
def test_qnn_names_the_shapes_that_it_cannot_compile(
    hubs: Hubs, tmp_path: Path, shape: tuple[int | str, ...], sentence: str
) -> None:
    spec = compiled.SIGNATURE.inputs[0].model_copy(update={"shape": shape})
    other = compiled.SIGNATURE.model_copy(update={"inputs": (spec,)})
    with pytest.raises(UnsupportedError, match=sentence):
        exporter.find("qnn").write(replace(hubs(OWN), signature=other), V75, tmp_path)


@needs_qnn
@pytest.mark.nightly
def test_every_architecture_gets_a_binary_of_its_own_the_same_each_time_and_the_simulator_agrees(
    hubs: Hubs, tmp_path: Path
) -> None:
    binaries = {}
    for architecture in ("73", "75", "79", "75 again"):
        folder = tmp_path / architecture
        folder.mkdir()
        done = exporter.find("qnn").export(hubs(OWN), spec_of(architecture[:2]), compiled.work(folder))
        assert done.signature.inputs[0].shape == (1, 1, 28, 28)
        assert done.parity is not None
        assert done.parity.samples == 64
        assert done.parity.top1_agreement >= 0.98
        assert done.refused is None  # 8 steps apart on this net, and no further from the float graph than the file is
        assert done.parity.float_snr_db is not None
        assert done.parity.file_float_snr_db is not None
        assert done.parity.float_snr_db >= done.parity.file_float_snr_db - 0.5
        binaries[architecture] = (folder / "out" / str(done.entry)).read_bytes()
    assert binaries["75"] == binaries["75 again"]
    assert len(set(binaries.values())) == 3


@needs_qnn
@pytest.mark.nightly
def test_this_processs_onnx_runtime_does_not_get_another_provider(hubs: Hubs, tmp_path: Path) -> None:
    exporter.find("qnn").export(hubs(OWN), V75, compiled.work(tmp_path))
    assert "QNN" not in {device.ep_name for device in onnxruntime.get_ep_devices()}
    assert "QNNExecutionProvider" not in onnxruntime.get_available_providers()


@needs_qnn
@pytest.mark.nightly
def test_what_would_run_on_the_cpu_in_part_is_refused_with_the_layer(hubs: Hubs, tmp_path: Path) -> None:
    """With logits in float, the last layer is no integer one to the provider."""
    cpus = Dialect(activation="uint8-affine", reduced_range=False)
    sentence = r"layer '.+' \(Gemm\) does not run on the HTP; a file that is half the CPU's is not written"
    with pytest.raises(UnsupportedError, match=sentence):
        exporter.find("qnn").export(hubs(cpus), V75, compiled.work(tmp_path))


@needs_qnn
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("family", "refused"),
    [("resnet", None), ("mobilenet-v2", None), ("vit", None), ("bert", r"\(GatherND\)")],  # of its mask
)
def test_nets_are_taken_whole_or_refused_with_the_layer(tmp_path: Path, family: str, refused: str | None) -> None:
    model, feeds, described = compiled.family(family, tmp_path)
    quantise(model, feeds, OWN, tmp_path / "int8.onnx")
    hub = Deployable(tmp_path / "int8.onnx", tmp_path / "none", described, {}, False)
    if refused is None:
        assert exporter.find("qnn").write(hub, V75, tmp_path).entry == "model_ctx.onnx"
        return
    with pytest.raises(UnsupportedError, match=refused):
        exporter.find("qnn").write(hub, V75, tmp_path)


@needs_qnn
@pytest.mark.nightly
def test_the_simulator_answers_a_trained_vit_within_five_steps(tmp_path: Path) -> None:
    model, feeds, described = compiled.vit_of_digits(tmp_path)
    quantise(model, feeds, OWN, tmp_path / "int8.onnx")
    known = Reference(feeds, float_answers(tmp_path / "int8.onnx", feeds), float_answers(model, feeds))
    reference.write(known, tmp_path)
    hub = Deployable(tmp_path / "int8.onnx", tmp_path / reference.FILE, described, {}, True)
    done = exporter.find("qnn").export(hub, V75, compiled.work(tmp_path))
    assert done.refused is None
    assert done.parity is not None
    assert done.parity.top1_agreement >= 0.98
    assert done.parity.steps_p99 is not None
    assert done.parity.steps_p99 <= 5.001
