"""Rooms of their own: whole or not there, asked through files, and each failure one sentence."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers import compiled, digits_net

from edgekd import exporting
from edgekd.budget import Budget
from edgekd.deploy import exporter
from edgekd.engine.workspace import default_workspace
from edgekd.errors import ConfigError, UnavailableError, UnsupportedError
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.profile import load_profile
from edgekd.toolchains import call, catalogue, rooms
from edgekd.toolchains.catalogue import CATALOGUE, Toolchain

LOOSE = Budget(accuracy_drop_points=5)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Toolchain]:
    """A toolchain of the person's folder, which needs no network."""

    def make(*packages: str, module: str = "small") -> Toolchain:
        one = Toolchain(
            name="small", packages=packages, module=module, purpose="a test", licence="none", disk_mib=20, called=True
        )
        monkeypatch.setitem(catalogue.CATALOGUE, "small", one)
        return one

    return make


@pytest.fixture
def small(tmp_path: Path) -> str:
    """A package that pip builds with nothing from a network."""
    name = "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(tmp_path / name, "w") as wheel:
        wheel.writestr("small.py", "ANSWER = 42\n")
        wheel.writestr("small-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
        wheel.writestr("small-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("small-1.0.dist-info/RECORD", "")
    return str(tmp_path / name)


def test_every_toolchain_is_pinned_and_says_what_it_is_for() -> None:
    for one in CATALOGUE.values():
        assert one.purpose
        assert all("==" in package for package in one.packages)


@pytest.mark.slow
def test_a_room_is_made_once_over_what_a_killed_installation_left_and_goes_when_asked(
    home: Path, only: Callable[..., Toolchain], small: str
) -> None:
    half = rooms.root() / f"small-{only(small).digest}"
    (half / "bin").mkdir(parents=True)
    with pytest.raises(UnavailableError, match="toolchain 'small' is not installed; edgekd toolchain install small"):
        rooms.room_of("small")
    said: list[str] = []
    room = rooms.install("small", said.append)
    assert room.versions["small"] == "1.0"
    assert room.folder.is_relative_to(home / "toolchains")
    before = len(said)
    assert rooms.install("small", said.append) == room
    assert len(said) == before
    assert rooms.remove("small")
    assert not room.folder.exists()
    assert not rooms.remove("small")


@pytest.mark.slow
@pytest.mark.parametrize(("package", "module"), [("no-such-package-of-edgekd==1.0", "small"), (None, "not_in_it")])
def test_a_room_that_cannot_be_made_leaves_nothing(
    home: Path, only: Callable[..., Toolchain], small: str, package: str | None, module: str
) -> None:
    only(package or small, module=module)
    with pytest.raises(UnavailableError, match=r"toolchain small: .* ended with 1: .*(no-such-package|not_in_it)"):
        rooms.install("small", lambda _: None)
    assert [path.name for path in (home / "toolchains").iterdir()] == [".small.lock"]


def test_a_toolchain_that_is_none_is_named_with_its_neighbour() -> None:
    with pytest.raises(ConfigError, match="toolchain: no 'optimun'; did you mean 'optimum'"):
        catalogue.toolchain("optimun")


@pytest.mark.slow
def test_a_worker_sees_nothing_of_the_persons_python_and_its_last_words_are_told(
    home: Path, only: Callable[..., Toolchain], small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(small)
    rooms.install("small", lambda _: None)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))
    workers = tmp_path / "workers"
    workers.mkdir()
    monkeypatch.setattr(call, "files", lambda _: workers)
    (workers / "good.py").write_text(
        "import json, sys, small\n"
        "try:\n    import edgekd\nexcept ImportError:\n    edgekd = None\n"
        "answer = {'asked': json.loads(sys.argv[1]), 'small': small.ANSWER, 'edgekd': edgekd is not None}\n"
        "open(sys.argv[2], 'w').write(json.dumps(answer))\n"
    )
    (workers / "bad.py").write_text("raise ValueError('the third layer is odd')\n")
    (workers / "long.py").write_text("import time\ntime.sleep(60)\n")
    told = call.call("small", "good", {"x": 1})
    assert told == {"asked": {"x": 1}, "small": 42, "edgekd": False}
    with pytest.raises(UnsupportedError, match="toolchain small: bad: ValueError: the third layer is odd"):
        call.call("small", "bad", {})
    with pytest.raises(UnavailableError, match=r"toolchain small: long did not end within 0\.5 s"):
        call.call("small", "long", {}, timeout_s=0.5)


def test_the_recipe_of_a_toolchain_that_is_not_there_says_what_installs_it(
    home: Path, model: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnavailableError, match="edgekd toolchain install neural-compressor"):
        exporting.export(model, data, recipe="neural-compressor", budget=LOOSE, out=tmp_path / "dist")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toolchains that edgekd calls; those of the person's own workspace, where they are there."""
    home = Path(os.environ.get("EDGEKD_TOOLCHAINS") or tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKD_HOME", str(home))
        for name in ("neural-compressor", "optimum", "rknn"):
            rooms.install(name, lambda _: None)
    return home


@pytest.fixture
def there(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_HOME", str(installed))
    assert default_workspace() == installed


@pytest.fixture
def digits_archive(tmp_path: Path) -> Path:
    images, labels = digits_net.digits()
    np.savez(tmp_path / "digits.npz", images=images[:600], labels=labels[:600])
    return tmp_path / "digits.npz"


@pytest.mark.nightly
def test_neural_compressors_graph_goes_through_the_same_proof_and_keeps_accuracy(
    there: None, digits_archive: Path, tmp_path: Path
) -> None:
    net = digits_net.net(tmp_path / "float.onnx")
    done = exporting.export(
        net, digits_archive, mean=(0.0,), std=(1.0,), recipe="neural-compressor", out=tmp_path / "dist", budget=LOOSE,
        workspace=tmp_path / "workspace", target=str(Path(__file__).parent.parent / "micro-cpu.yaml"),
    )  # fmt: skip
    row = done.report["variants"]["int8@onnxruntime"]
    assert row["coverage"]["integer"] == row["coverage"]["total"]
    assert abs(row["accuracy_change_points"][0]) <= 2
    assert row["parity"]["top1_agreement"] >= 0.98
    assert "int8@openvino" in done.report["variants"]
    assert done.report["not_written"]["int8@litert"].startswith("recipe neural-compressor: writes uint8 activations")


@pytest.mark.nightly
def test_optimum_loads_a_bundle_and_answers_the_same(there: None, digits_archive: Path, tmp_path: Path) -> None:
    net = digits_net.net(tmp_path / "float.onnx")
    graph = onnx.load(net)
    name = graph.graph.input[0].name
    for node in graph.graph.node:
        node.input[:] = ["pixel_values" if one == name else one for one in node.input]
    graph.graph.input[0].name = "pixel_values"
    onnx.save(graph, net)
    bundle = exporting.export(
        net, digits_archive, mean=(0.0,), std=(1.0,), out=tmp_path / "dist", budget=LOOSE, labels=tuple("0123456789"),
        workspace=tmp_path / "workspace", target=str(Path(__file__).parent.parent / "one-runtime.yaml"),
    ).folder  # fmt: skip
    entry = json.loads((bundle / "manifest.json").read_text("utf-8"))["model"]
    x = np.random.default_rng(0).random((5, 1, 28, 28), np.float32)
    np.savez(tmp_path / "feeds.npz", pixel_values=x)
    asked = {"do": "answers", "auto": "ORTModelForImageClassification", "folder": str(bundle), "file": entry,
             "feeds": str(tmp_path / "feeds.npz"), "answers": str(tmp_path / "answers.npz")}  # fmt: skip
    assert call.call("optimum", "optimum_models", asked) == {
        "class": "ORTModelForImageClassification",
        "labels": 10,
    }
    with np.load(tmp_path / "answers.npz") as found:
        theirs = found["logits"]
    ours = ort.InferenceSession(bundle / entry, providers=["CPUExecutionProvider"]).run(None, {"pixel_values": x})[0]
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


@pytest.mark.nightly
def test_a_graph_is_compiled_for_rockchip_with_its_own_scales_and_simulated(there: None, tmp_path: Path) -> None:
    spec = load_profile("rockchip-rk3588").compiler
    assert spec is not None
    (tmp_path / "hubs").mkdir()
    hub = compiled.digits_hubs(tmp_path / "hubs")(spec.dialect.on(cpu()))
    done = exporter.find("rknn").export(hub, spec, compiled.work(tmp_path))
    assert (tmp_path / "out" / "model.rknn").stat().st_size > 1000
    assert done.parity is not None
    assert done.parity.top1_agreement >= 0.95
    assert any(note.startswith("latency: none") for note in done.notes)
