"""`edgekd export`: a model as it is, in every runtime, and what becomes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import digits_net, onnx_models
from onnx import TensorProto, helper

from edgekd import build, export
from edgekd.budget import Budget
from edgekd.deploy.bundle import Built
from edgekd.engine.events import Silent
from edgekd.errors import ConfigError, DataError, EdgekdError, InconclusiveError, UnsupportedError
from edgekd.exporting import export_again
from edgekd.hardware.fingerprint import cpu
from edgekd.pipeline import load_pipeline

pytest.importorskip("openvino")
pytest.importorskip("ai_edge_litert")
QUICK = str(Path(__file__).parent / "micro-cpu.yaml")


class Count(Silent):
    def __init__(self) -> None:
        self.ran: list[str] = []

    def running(self, stage: str, place: str) -> None:
        self.ran.append(stage)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    digits_net.net(folder / "digits.onnx")
    digits_net.archive(folder / "eval.npz")
    return folder


def run(home: Path, **changes: Any) -> Built:
    asked: dict[str, Any] = {
        "target": QUICK, "workspace": home / "workspace", "out": home / "dist", "budget": Budget(accuracy_drop_points=2)
    }  # fmt: skip
    return export(home / "digits.onnx", home / "eval.npz", **(asked | changes))


@pytest.fixture(scope="module")
def shipped(home: Path) -> Built:
    return run(home)


def test_every_runtime_is_tried_in_its_own_dialect_and_all_layers_run_as_integers(shipped: Built) -> None:
    rows = shipped.report["variants"]
    assert set(rows) == {
        "fp32@onnxruntime", "fp32@openvino", "int8@onnxruntime", "int8@openvino", "int8@litert",
        *(f"{half}@openvino" for half in cpu().halves),
    }  # fmt: skip
    for name, row in rows.items():
        assert row["latency"]["kind"] == "measured"
        assert row["coverage"]["integer"] == (4 if name.startswith("int8") else 0)
        assert row["coverage"]["total"] == 4
        assert row["parity"]["top1_agreement"] >= 0.98
        assert row["accuracy_val_percent"]["interval"][0] > 90
    assert shipped.report["not_written"] == {}


def test_what_ships_is_not_slower_and_the_others_are_told_why_they_do_not(shipped: Built) -> None:
    report = shipped.report
    assert set(report["rejected"]) == set(report["variants"]) - {report["shipped"]}
    assert all(report["rejected"].values())
    own = report["variants"][report["shipped"]]
    assert report["shipped"] == report["base"] or own["speedup"][1] >= 1
    assert {verdict["limit"] for verdict in report["verdicts"]} == {
        "accuracy_drop_points", "speedup_over_fp32@onnxruntime"
    }  # fmt: skip


def test_the_reported_accuracy_is_of_samples_that_decided_nothing(home: Path, shipped: Built) -> None:
    tested = shipped.report["test"][shipped.report["shipped"]]
    assert tested["n"] == 1500
    assert shipped.report["variants"][shipped.report["shipped"]]["accuracy_val_percent"]["n"] == 1500
    (data,) = (path.parent for path in (home / "workspace" / "objects").rglob("dataset.json"))
    from safetensors.numpy import load_file

    splits = load_file(data / "data.safetensors")
    rows = {name: {row.tobytes() for row in splits[f"{name}.images"]} for name in ("train", "val", "test")}
    assert not rows["test"] & (rows["val"] | rows["train"])


def test_the_same_again_runs_nothing(home: Path, shipped: Built) -> None:
    watch = Count()
    again = run(home, listener=watch)
    assert watch.ran == []
    assert again.report == shipped.report


@pytest.mark.slow
def test_a_build_whose_first_runtime_takes_no_floats_says_so(
    micro_settings: list[str], workspace: Path, tmp_path: Path
) -> None:
    text = Path(QUICK).read_text("utf-8")
    only = text[: text.index("  - name: onnxruntime")] + text[text.index("  - name: litert") :]
    (tmp_path / "only.yaml").write_text(only, "utf-8")
    pipeline = load_pipeline("digits", [*micro_settings, f"targets=[{tmp_path / 'only.yaml'}]"])
    with pytest.raises(UnsupportedError, match="local-cpu/teacher-fp32: exporter litert: writes int8 files only"):
        build(pipeline, workspace=workspace, out=tmp_path / "dist")


@pytest.mark.slow
def test_the_command_prints_the_report_and_reads_what_is_there(home: Path, shipped: Built, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "edgekd", "export", str(home / "digits.onnx"), "--data", str(home / "eval.npz"),
        "--target", QUICK, "--max-accuracy-drop", "2", "--workspace", str(home / "workspace"), "--out", str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3), done.stderr
    assert json.loads(done.stdout)["report"] == shipped.report
    assert "0 stages ran" in done.stderr
    wrong = subprocess.run([*command, "--recipe", "luck"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "one of min-max, percentile" in " ".join(wrong.stderr.split())


def test_run_py_predicts_from_the_bundle_alone(shipped: Built, tmp_path: Path) -> None:
    images, labels = digits_net.digits()
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", images[-1 - number])
    files = [tmp_path / f"{number}.npy" for number in range(6)]
    done = subprocess.run(
        [sys.executable, "-I", shipped.folder / "run.py", "--json", *files], capture_output=True, text=True, check=True
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(int(row["label"]) == label for row, label in zip(rows, labels[:-7:-1], strict=True)) >= 5


@pytest.mark.slow
def test_a_lock_exports_again_and_is_not_taken_for_a_builds(shipped: Built, home: Path, tmp_path: Path) -> None:
    again = export_again(shipped.folder / "edgekd.lock", workspace=home / "workspace", out=tmp_path)
    assert again.report["shipped"] == shipped.report["shipped"]
    assert again.report["replayed"] is not None
    from edgekd.api import rebuild

    with pytest.raises(ConfigError, match="is of an export; use edgekd export --locked"):
        rebuild(shipped.folder / "edgekd.lock", workspace=home / "workspace", out=tmp_path)


@pytest.mark.slow
def test_a_lost_margin_tries_the_other_recipes_and_says_what_each_kept(home: Path) -> None:
    told = run(home, budget=Budget(accuracy_drop_points=0.201), out=home / "tight").report["recipes"]
    assert told
    one = run(home, recipe="smooth", out=home / "smooth")
    assert one.report["recipes"] == {}


@pytest.mark.slow
def test_without_labels_the_models_own_answers_are_what_is_kept(home: Path, tmp_path: Path) -> None:
    images, _ = digits_net.digits()
    np.savez(tmp_path / "bare.npz", images=images[-1000:])
    done = export(home / "digits.onnx", tmp_path / "bare.npz", target=QUICK, workspace=home / "workspace",
                  out=tmp_path, budget=Budget(accuracy_drop_points=3))  # fmt: skip
    assert done.report["accuracy_is"] == "share of answers kept of fp32@onnxruntime"
    assert done.report["variants"]["fp32@onnxruntime"]["accuracy_val_percent"]["interval"][0] == 100
    assert done.report["variants"]["int8@litert"]["accuracy_val_percent"]["interval"][0] > 95


@pytest.mark.slow
def test_what_an_exporter_cannot_write_is_named_with_its_layer_and_the_export_goes_on(tmp_path: Path) -> None:
    graph = onnx.load(onnx_models.stack_of(3, tmp_path / "stack.onnx"))
    graph.graph.node.insert(2, helper.make_node("Erf", ["x2"], ["e2"], name="bend"))
    graph.graph.node[3].input[0] = "e2"
    onnx.save(graph, tmp_path / "bent.onnx")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).standard_normal((400, 256)).astype(np.float32))
    done = export(tmp_path / "bent.onnx", tmp_path / "x.npz", target=QUICK, workspace=tmp_path / "w",
                  out=tmp_path / "dist", trained=False)  # fmt: skip
    assert "layer 'bend' (Erf)" in done.report["not_written"]["int8@litert"]
    assert "int8-dynamic@onnxruntime" in done.report["variants"]
    assert done.folder.is_dir()


def bad_model(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        model = onnx.load(onnx_models.linear(np.eye(4), folder / "model.onnx"))
        change(model)
        onnx.save(model, folder / "model.onnx")

    return write


def quantised(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("QuantizeLinear", ["x", "s"], ["q"]))


def answers_classes(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("ArgMax", ["logits"], ["class"], axis=1))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("class", TensorProto.INT64, ["batch", 1]))


X4 = np.random.default_rng(0).standard_normal((1400, 4)).astype(np.float32)
BAD: dict[str, tuple[dict[str, Any], Callable[[Path], object], type[EdgekdError], str]] = {
    "no model": ({}, lambda folder: (folder / "model.onnx").unlink(), ConfigError, r"model\.onnx: no such file"),
    "not ONNX": ({}, lambda folder: (folder / "model.onnx").write_text("hello"), ConfigError,
                 r"model\.onnx: not an ONNX model that can be read"),
    "quantised": ({}, bad_model(quantised), ConfigError, r"is quantised already; give the float model"),
    "classes": ({}, bad_model(answers_classes), ConfigError, r"answers int64; .* leave ArgMax out"),
    "other arrays": ({}, lambda folder: np.savez(folder / "eval.npz", y=X4), DataError,
                     r"eval\.npz: has y, and the model reads 'x'; give an array of that name"),
    "too few": ({}, lambda folder: np.savez(folder / "eval.npz", x=X4[:3]), InconclusiveError,
                r"accuracy_drop_points: 0\.5: 1 test samples cannot decide it"),
    "NaN": ({}, lambda folder: np.savez(folder / "eval.npz", x=np.where(X4 > 3, np.nan, X4).astype(np.float32)),
            DataError, r"eval\.npz: x: \d+ values are NaN or infinite"),
    "mean of no images": ({"mean": [0.5], "std": [0.5]}, lambda _: None, ConfigError,
                          r"--mean, --std: are of images"),
    "mean alone": ({"mean": [0.5]}, lambda _: None, ConfigError, r"--mean has 1 values and --std 0; give both"),
    "labels": ({"labels": ["a", "b"]}, lambda _: None, ConfigError, r"--labels: 2 names, and the model answers logits"),
    "lengths": ({}, lambda folder: np.savez(folder / "eval.npz", x=X4, labels=np.zeros(9, np.int64)), DataError,
                r"1400 x, 9 labels; each sample needs one of each"),
}  # fmt: skip


def test_a_sorted_file_calibrates_on_all_of_its_classes(tmp_path: Path) -> None:
    from edgekd.data import archive
    from edgekd.data.stages import Archive
    from edgekd.engine.digest import digest_file
    from edgekd.engine.events import Progress
    from edgekd.engine.stage import Work

    np.savez(tmp_path / "sorted.npz", x=np.repeat(np.arange(4, dtype=np.float32), 100)[:, None] + X4[:400] / 100)
    path, digest = str(tmp_path / "sorted.npz"), digest_file(tmp_path / "sorted.npz")
    asked = Archive(path=path, sha256=digest, inputs=("x",), calibration=path, calibration_sha256=digest)
    archive.run(asked, {}, Work(tmp_path, tmp_path, Progress(Silent())))
    from safetensors.numpy import load_file

    first = load_file(tmp_path / "data.safetensors")["train.x"][:40]
    assert set(np.round(first[:, 0])) == {0, 1, 2, 3}


def test_labels_of_a_model_that_answers_no_classes_are_refused(tmp_path: Path) -> None:
    """Its argmax would always be 0, and nothing could ever be lost."""
    onnx_models.linear(np.ones((4, 1)), tmp_path / "model.onnx")
    np.savez(tmp_path / "eval.npz", x=X4, labels=np.zeros(len(X4), np.int64))
    with pytest.raises(ConfigError, match=r"which are no logits of classes; leave `labels` out"):
        export(tmp_path / "model.onnx", tmp_path / "eval.npz", target=QUICK, workspace=tmp_path / "w", out=tmp_path)


def test_free_axes_are_measured_as_long_as_they_are_in_the_data(tmp_path: Path) -> None:
    from edgekd.data.signature import Signature, TensorIn, TensorOut, fixed_shape
    from edgekd.deploy.given import with_examples

    described = Signature(
        inputs=(TensorIn(name="x", shape=("batch", 3, "height", "width")),), outputs=(TensorOut(name="y"),)
    )
    (spec,) = with_examples(described, {"x": np.zeros((5, 3, 48, 64))}).inputs
    assert fixed_shape(spec, 2) == (2, 3, 48, 64)


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_exported_is_one_sentence(tmp_path: Path, name: str) -> None:
    asked, spoil, error, sentence = BAD[name]
    onnx_models.linear(np.eye(4), tmp_path / "model.onnx")
    np.savez(tmp_path / "eval.npz", x=X4)
    spoil(tmp_path)
    with pytest.raises(error, match=sentence):
        export(tmp_path / "model.onnx", tmp_path / "eval.npz", target=QUICK, workspace=tmp_path / "w",
               out=tmp_path / "dist", **asked)  # fmt: skip
    assert not (tmp_path / "dist").exists()


@pytest.mark.nightly
def test_a_build_measures_its_student_in_every_runtime_and_says_which_could_not_be_written(
    micro_settings: list[str], tmp_path: Path
) -> None:
    (done,) = build(load_pipeline("digits", micro_settings), targets=[QUICK], workspace=tmp_path / "w",
                    out=tmp_path / "dist")  # fmt: skip
    assert {"fp32@openvino", "int8@openvino", "int8@litert"} <= set(done.report["variants"])
    assert done.report["not_written"] == {}
    inside = [*micro_settings, "preprocess={mean: [0.13], std: [0.31], inside: true}"]
    (done,) = build(load_pipeline("digits", inside), targets=[QUICK], workspace=tmp_path / "w", out=tmp_path / "dist")
    assert {"fp32@openvino", "int8@openvino"} <= set(done.report["variants"])
    assert "this operator is not known to the TFLite writer" in done.report["not_written"]["int8@litert"]
    assert "`int8@litert` could not be written: exporter litert" in (done.folder / "report.md").read_text("utf-8")
