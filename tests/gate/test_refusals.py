"""What the gate cannot compare is one sentence and an exit code, never a traceback and never a pass."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import onnx_models
from helpers.gate import LABELS, ONLY_ANSWERS, QUICK, WEIGHT, WIDTH, X, edgekd, edited, states
from onnx import TensorProto, helper

from edgekd.deploy.bundle import Built
from edgekd.errors import ConfigError, DataError, EdgekdError, UnavailableError
from edgekd.gate import samples
from edgekd.gate.baseline import save
from edgekd.gate.limits import Limits
from edgekd.gate.run import check
from edgekd.hardware.profile import load_profile


def broken(folder: Path, kind: str) -> Path:
    path = folder / "broken.onnx"
    if kind == "missing":
        return path
    if kind == "text":
        path.write_text("hello")
    elif kind == "opset":
        onnx_models.one_node("Relu", path, opset=99)
    elif kind == "operator":
        onnx_models.one_node("NoSuchOperator", path)
    elif kind == "kernel":
        x, y = (helper.make_tensor_value_info(n, TensorProto.BFLOAT16, [1, 4]) for n in "xy")
        onnx_models.save(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y]), path)
    elif kind == "another task":
        onnx_models.linear(np.ones((WIDTH, 7)), path)
    elif kind == "free axis":
        onnx_models.one_node("Relu", path, shape=("batch", "length"))
    return path


@pytest.mark.parametrize(
    ("kind", "error", "says"),
    [
        ("missing", ConfigError, r"broken\.onnx: no such file or bundle"),
        ("text", ConfigError, r"broken\.onnx: not a model that onnxruntime .* can read"),
        ("opset", UnavailableError, r"opset 99, and onnxruntime"),
        ("operator", UnavailableError, r"lacks an operator: .*NoSuchOperator"),
        ("kernel", UnavailableError, r"lacks an operator: Could not find an implementation for Relu"),
        ("another task", ConfigError, r"--baseline: answers logits float32 \[batch, 7\], the candidate .*another task"),
        ("free axis", ConfigError, r"how long is 'length'\? Say it with --shape x="),
    ],
)
@pytest.mark.parametrize("side", ["candidate", "baseline"])
def test_what_cannot_be_compared_is_one_sentence(
    model: Path, tmp_path: Path, kind: str, error: type[EdgekdError], says: str, side: str
) -> None:
    strange = broken(tmp_path, kind)
    if kind == "another task" and side == "candidate":
        says = r"--baseline: answers logits float32 \[batch, 4\], the candidate .*\[batch, 7\]: another task"
    if kind == "free axis":
        model = strange  # a single input of that kind on both sides
    with pytest.raises(error, match=says):
        check(*((strange, model) if side == "candidate" else (model, strange)), profile=QUICK)
    assert error.exit_code in (2, 6)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": X}, "has neither `labels` nor `targets`, only x"),
        ({"x": X[:3], "labels": LABELS}, r"3 x but 1000 labels"),
        (
            {"z": X, "labels": LABELS},
            r"has z, but model\.onnx reads x float32 \[batch, 64\]; give arrays",
        ),
        ({"images": X, "labels": LABELS}, r"`images` serve only models that know their preprocessing"),
        ({"x": X, "labels": np.stack([LABELS, LABELS], 1)}, r"labels: int64 \[1000, 2\]; one whole number a sample"),
    ],
)
def test_an_evaluation_set_that_does_not_fit_is_refused(
    model: Path, tmp_path: Path, arrays: dict[str, np.ndarray], says: str
) -> None:
    np.savez(tmp_path / "eval.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=says):
        check(model, model, data=tmp_path / "eval.npz", limits=ONLY_ANSWERS, profile=QUICK)


def test_a_bundle_whose_model_was_changed_is_refused(built: Built, tmp_path: Path) -> None:
    changed = edited(built.folder, tmp_path / "changed", lambda manifest: None)
    (changed / "model.onnx").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"model\.onnx: not the file that manifest\.json describes"):
        check(changed, built.folder, profile=QUICK)
    outside = edited(built.folder, tmp_path / "outside", lambda manifest: manifest.update(model="../secret.onnx"))
    with pytest.raises(ConfigError, match=r"names the model '\.\./secret\.onnx', which lies outside of it"):
        check(outside, built.folder, profile=QUICK)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["m.onnx"], 2, "say what to check against, or --save-baseline"),
        (["m.onnx", "--baseline", "b.onnx"], 2, "edgekd: b.onnx: no such file or bundle"),
        (["m.onnx", "--baseline", "m.onnx", "--inconclusive", "maybe"], 2, "pass or fail"),
        (["m.onnx", "--baseline", "m.onnx", "--max-latency-regression", "3ms"], 2, "write it like 3% or 0.5, or none"),
        (["m.onnx", "--baseline", "m.onnx", "--shape", "x"], 2, "write it like input=1,3,32,32"),
        (["m.onnx", "--baseline", "m.onnx", "--target", "rpi5"], 6, "device rpi5: hardware elsewhere"),
        (["m.onnx", "--baseline", "m.onnx", "--runtime", "litert"], 2, "no runtime 'litert' opens .onnx files"),
        (["m.onnx", "--baseline", "m.onnx", "--data", "gone.npz"], 2, "gone.npz: no such file"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_exit_code(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model.rename("m.onnx")
    done = edgekd("check", *arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_no_empty_result_is_left_where_nothing_could_be_compared(model: Path, tmp_path: Path) -> None:
    """A CI uploads whatever file is there."""
    done = edgekd("check", model, "--baseline", tmp_path / "gone.onnx", "--sarif", tmp_path / "check.sarif")
    assert done.returncode == 2
    assert not (tmp_path / "check.sarif").exists()


def labelled(folder: Path, labels: np.ndarray, name: str = "labels") -> Path:
    np.savez(folder / "set.npz", x=X, **{name: labels})  # type: ignore[arg-type]
    return folder / "set.npz"


def test_labels_that_no_class_has_are_refused_and_not_counted_as_wrong_on_both_sides(
    model: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="labels go from 1 to 4, and the models know 4 classes"):
        check(model, model, data=labelled(tmp_path, LABELS + 1), limits=ONLY_ANSWERS, profile=QUICK)


def test_one_number_a_sample_is_no_class(tmp_path: Path) -> None:
    """The largest of one is always the first: any candidate would be as right as any baseline."""
    one = onnx_models.linear(WEIGHT[:, :1], tmp_path / "one.onnx")
    with pytest.raises(ConfigError, match=r"needs \[N, C\] with two classes.*give `targets` instead of `labels`"):
        check(one, one, data=labelled(tmp_path, LABELS % 2), limits=ONLY_ANSWERS, profile=QUICK)


def test_targets_are_numbers_even_where_they_are_whole(tmp_path: Path) -> None:
    one = onnx_models.linear(WEIGHT[:, :1], tmp_path / "one.onnx")
    other = onnx_models.linear(-5 * WEIGHT[:, :1], tmp_path / "other.onnx")
    ages = np.round((X @ WEIGHT[:, :1])[:, 0] * 3).astype(np.int64)
    result = check(other, one, data=labelled(tmp_path, ages, "targets"), limits=ONLY_ANSWERS, profile=QUICK)
    assert result.evaluation is not None
    assert result.evaluation.metric == "rmse"
    assert states(result)["accuracy"] == "fail"


def test_a_candidate_that_answers_nan_fails_and_a_baseline_that_does_is_none(model: Path, tmp_path: Path) -> None:
    """The largest of NaN is the first class: on samples of that class it would be perfect."""
    broken_weight = WEIGHT.copy()
    broken_weight[0, 0] = np.nan
    nan = onnx_models.linear(broken_weight, tmp_path / "nan.onnx")
    data = labelled(tmp_path, np.zeros_like(LABELS))
    result = check(nan, model, data=data, limits=ONLY_ANSWERS, profile=QUICK)
    assert states(result)["accuracy"] == "fail"
    assert "NaN or infinity for 1000 of 1000 samples" in result.checks[1].says
    with pytest.raises(ConfigError, match=r"--baseline .*nan\.onnx: answers NaN or infinity for 1000 of 1000 samples"):
        check(model, nan, data=data, limits=ONLY_ANSWERS, profile=QUICK)


def test_a_broken_contract_is_a_verdict_with_an_evaluation_set_too(model: Path, data: Path, tmp_path: Path) -> None:
    renamed = onnx_models.linear(WEIGHT, tmp_path / "renamed.onnx", names=("pixels", "logits"))
    result = check(renamed, model, data=data, limits=ONLY_ANSWERS, profile=QUICK)
    assert states(result) == {"contract": "fail"}
    assert result.skipped["accuracy"].startswith("the contract is broken: --data")


def headless(op: str, folder: Path) -> Path:
    """The classifier with another end: whole numbers instead of logits, or a single number for all samples."""
    graph = onnx.load(onnx_models.linear(WEIGHT, folder / "m.onnx"))
    end = helper.make_node(op, ["logits"], ["y"], keepdims=0)
    if op == "ArgMax":
        end.attribute.append(helper.make_attribute("axis", 1))
    graph.graph.node.append(end)
    kind = TensorProto.INT64 if op == "ArgMax" else TensorProto.FLOAT
    graph.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", kind, None))
    onnx.save(graph, folder / f"{op}.onnx")
    return folder / f"{op}.onnx"


def test_classes_that_a_model_answers_itself_are_compared_as_they_are(data: Path, tmp_path: Path) -> None:
    classes = headless("ArgMax", tmp_path)
    result = check(classes, classes, data=data, limits=ONLY_ANSWERS, profile=QUICK)
    assert result.evaluation is not None
    assert result.evaluation.candidate == 100


def test_an_answer_for_all_samples_together_is_refused(data: Path, tmp_path: Path) -> None:
    total = headless("ReduceSum", tmp_path)
    with pytest.raises(ConfigError, match=r"output 'y' is float32 \[\] for 64 samples; an answer for each is needed"):
        check(total, total, data=data, limits=ONLY_ANSWERS, profile=QUICK)


def test_free_axes_are_as_long_as_in_the_data(tmp_path: Path) -> None:
    path = onnx_models.one_node("Relu", tmp_path / "m.onnx", shape=("batch", "length"))
    np.savez(tmp_path / "e.npz", x=X[:, :3], labels=LABELS % 3)
    result = check(path, path, data=tmp_path / "e.npz", limits=Limits(memory_growth_percent=None), profile=QUICK)
    assert states(result)["accuracy"] != "fail"
    with pytest.raises(ConfigError, match="--shape z: neither model has such an input; they have x"):
        check(path, path, shapes={"z": (1, 3)}, profile=QUICK)


def test_a_shape_that_a_model_fixes_otherwise_is_refused(tmp_path: Path) -> None:
    path = onnx_models.one_node("Relu", tmp_path / "m.onnx", shape=(1, 4))
    with pytest.raises(ConfigError, match=r"x float32 \[1, 4\] is given the shape \[1, 5\]"):
        check(path, path, shapes={"x": (1, 5)}, profile=QUICK)


def test_a_bundle_is_run_as_its_manifest_says_and_not_otherwise(built: Built) -> None:
    with pytest.raises(ConfigError, match=r"--runtime openvino: .* is a bundle, run as its manifest says"):
        check(built.folder, built.folder, runtime="openvino", profile=QUICK)


def split(folder: Path) -> Path:
    """The classifier with its weights in a file of their own."""
    graph = onnx.load(onnx_models.linear(WEIGHT, folder / "m.onnx"))
    (folder / "in").mkdir()
    onnx.save(graph, folder / "in" / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    return folder / "in" / "m.onnx"


def test_every_file_of_a_saved_baseline_is_checked(tmp_path: Path) -> None:
    kept = save(split(tmp_path), tmp_path / "baseline", load_profile(QUICK), None)
    assert check(tmp_path / "in" / "m.onnx", kept, limits=ONLY_ANSWERS, profile=QUICK).notes == (
        "candidate and baseline are the same file",
    )
    (kept / "m.data").write_bytes(bytes(len((kept / "m.data").read_bytes())))
    with pytest.raises(ConfigError, match=r"m\.data: not the file that baseline\.json describes"):
        check(tmp_path / "in" / "m.onnx", kept, limits=ONLY_ANSWERS, profile=QUICK)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": None}, r"baseline\.json: model: expected string, got None"),
        ({"model": "a\0b"}, "which lies outside of it"),
        ({"evaluation": "eval"}, r"baseline\.json: evaluation: "),
        ({"files": None}, r"baseline\.json: files: "),
    ],
)
def test_a_baseline_that_was_edited_is_one_sentence(
    model: Path, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    kept = save(model, tmp_path / "baseline", load_profile(QUICK), None)
    told = json.loads((kept / "baseline.json").read_text()) | change
    (kept / "baseline.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=says):
        check(model, kept, profile=QUICK)


def test_only_what_opens_is_kept_and_never_inside_of_itself(built: Built, tmp_path: Path) -> None:
    profile = load_profile(QUICK)
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ConfigError, match=r"text\.onnx: not a model"):
        save(tmp_path / "text.onnx", tmp_path / "kept", profile, None)
    with pytest.raises(ConfigError, match="which it would copy; choose another folder"):
        save(built.folder, built.folder / "kept", profile, None)
    assert not (tmp_path / "kept").exists()


def test_what_stood_there_comes_back_when_saving_is_stopped(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = load_profile(QUICK)
    kept = save(model, tmp_path / "baseline", profile, None)
    before = (kept / "baseline.json").read_text()
    replace = Path.replace

    def stopped(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        save(model, kept, profile, None)
    assert (kept / "baseline.json").read_text() == before


def test_an_evaluation_set_may_be_named_by_a_plain_string(model: Path, data: Path) -> None:
    assert check(str(model), str(model), data=str(data), limits=ONLY_ANSWERS, profile=QUICK).state == "pass"


@pytest.mark.parametrize("content", ["array", "scalar", "damaged"])
def test_a_file_that_is_no_archive_of_samples_is_refused(model: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "set.npz"
    if content == "array":
        np.save(tmp_path / "set.npy", X)
        (tmp_path / "set.npy").rename(path)
    elif content == "scalar":
        np.savez(path, x=np.float32(1), labels=LABELS)
    else:
        np.savez_compressed(path, x=X, labels=LABELS)
        raw = bytearray(path.read_bytes())
        raw[200:1200] = bytes(1000)
        path.write_bytes(bytes(raw))
    says = {
        "array": "holds a single array",
        "scalar": "x is a single number",
        "damaged": "not a numpy file that can be",
    }
    with pytest.raises(DataError, match=says[content]):
        samples.read(path)
