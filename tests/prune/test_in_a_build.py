"""`prune` in a pipeline: the student of a build is what is left of its teacher."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.board import Board, delayed, measured, needs_sshd

from edgekd import find_student, pruning
from edgekd.api import build, plan, rebuild
from edgekd.beside import floats
from edgekd.cutting import check_foreign
from edgekd.data.stages import Preprocess
from edgekd.engine import lock
from edgekd.engine.events import Progress, Silent
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError, DeviceLostError, UnavailableError, UnsupportedError
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.profile import load_profile
from edgekd.hardware.where import where_of
from edgekd.models.shape import NetShape, parameters
from edgekd.pipeline import load_pipeline
from edgekd.plans import PrunePlan
from edgekd.prune import staircase
from edgekd.prune.stages import Staircase
from edgekd.prune.staircase import WHOLE
from edgekd.pruning import Pruning, prune_net
from edgekd.search.stages import QUICKLY
from edgekd.target import Target

SHAPE = "{stem_width: 16, stem_stride: 2, widths: [[32, 32], [32, 32], [64, 64], [64, 64]], strides: [1, 1, 2, 1]}"
HALF = ["prune={latency_ratio: 0.8, parameters_ratio: 0.6}", f"teacher.shape={SHAPE}", "distill.precision=float32",
        "sparsity={unstructured: 0.5, begin: 0, end: 0}"]  # fmt: skip


@pytest.mark.slow
def test_what_is_left_of_the_teacher_is_quantised_measured_proved_and_shipped(
    micro_settings: list[str], tmp_path: Path
) -> None:
    settings = [s for s in micro_settings if not s.startswith("teacher.shape")] + HALF
    pipeline = load_pipeline("digits", settings)
    where = {"workspace": tmp_path / "w"}
    (steps,) = plan(pipeline, **where).values()  # type: ignore[arg-type]
    stages = {step.stage for step in steps}
    assert "sparse.ask" in stages
    assert {"prune.ladder", "prune.staircase", "prune.path", "prune.choose", "prune.cut", "distill.float"} <= stages
    assert not any(stage.startswith("search.") for stage in stages)
    (built,) = build(pipeline, out=tmp_path / "dist", **where)  # type: ignore[arg-type]
    told = built.report["pruned"]
    assert built.report["search"] is None
    assert told["ratio"] == pytest.approx(0.8)
    assert told["after"]["parameters"] <= 0.6 * told["before"]["parameters"]
    assert told["before"]["parameters"] == parameters(pipeline.teacher.shape, in_channels=1)
    assert built.report["distillation"]["training"]["first"] == "pruned"
    assert built.report["variants"]["int8"]["size_bytes"] < built.report["variants"]["teacher-int8"]["size_bytes"]
    text = (built.folder / "report.md").read_text("utf-8")
    assert "## What is left of the teacher: 0.8 of its int8 latency was asked for" in text
    assert "The student started from what is left of its teacher." in text
    (said,) = {sentence.split(":")[0] for sentence in built.report["zeros"] if "int8" in sentence}
    assert said == "50 % zeros in int8@onnxruntime"  # asked of the runtime before the training
    assert "Before the training, of a net of this shape with random weights: 50 % zeros in" in text
    trained = built.report["distillation"]["training"]["sparsity"]
    assert trained["zeros_percent"] == pytest.approx(50, abs=1)
    assert trained["dense"] == {}  # single zeros go into every layer
    code = (
        "import sys; sys.argv = ['edgekd', 'build', 'digits', '--workspace', "
        f"{str(where['workspace'])!r}, '--out', {str(tmp_path / 'dist')!r}"
        + "".join(f", '--set', {setting!r}" for setting in settings)
        + "]\nfrom edgekd.cli.app import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "0 stages ran" in done.stderr
    rows = {row.stage: row for row in lock.read(built.folder / "edgekd.lock").rows}
    assert rows["prune.choose"].nature == "decision"
    units = json.loads(rows["prune.choose"].files["decision.json"])["units"]
    again = rebuild(built.folder / "edgekd.lock", out=tmp_path / "again", **where)  # type: ignore[arg-type]
    assert again.report["pruned"]["units"] == units  # whatever was measured this time


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (["prune={latency_ratio: 0.5}", "search.supernet={epochs: 1}"], r"prune: .* nothing is searched for; leave"),
        (["prune={latency_ratio: 0.5}", "distill.start=teacher"], r"prune: the net goes on from its own weights"),
        (["prune={latency_ratio: 0.5}", "distill.assistant=auto"], r"prune: distill.assistant: the whole net alone"),
        (["prune={latency_ratio: 1.5}"], r"prune.latency_ratio"),
    ],
)
def test_what_does_not_go_with_pruning_is_refused_as_the_file_is_read(assignments: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_pipeline("digits", assignments)


def test_a_search_has_nothing_to_search_for(tmp_path: Path) -> None:
    pipeline = load_pipeline("digits", ["prune={latency_ratio: 0.5}"])
    with pytest.raises(ConfigError, match=r"prune: .* none is searched for; leave prune out"):
        find_student(pipeline, out=tmp_path / "o", workspace=tmp_path / "w")


def test_a_teacher_of_another_family_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("raise SystemExit('it ran')\n", "utf-8")
    pipeline = load_pipeline("digits", ["prune={latency_ratio: 0.5}", f"teacher={{from: {tmp_path / 'net.py'}}}"])
    with pytest.raises(UnsupportedError, match=r"prune: in a build the teacher is one of edgekd's own nets; `edgekd"):
        plan(pipeline, workspace=tmp_path / "w")


@needs_sshd
@pytest.mark.nightly
def test_what_is_left_depends_on_what_the_device_measures(
    board: Board, micro_settings: list[str], tmp_path: Path
) -> None:
    """There, the whole net is slow: without hardly any of its units it is already as fast as was asked for."""
    delayed(board, WHOLE)
    settings = [s for s in micro_settings if not s.startswith("teacher.shape")]
    settings += [
        "prune={latency_ratio: 0.5}",
        f"teacher.shape={SHAPE}",
        "sparsity={unstructured: 0.5, begin: 0, end: 0}",
    ]
    (built,) = build(
        load_pipeline("digits", settings), workspace=tmp_path / "w", out=tmp_path, device=str(board.address)
    )
    told = built.report["pruned"]
    assert told["after"]["parameters"] > 0.9 * told["before"]["parameters"]
    assert any("50 % zeros in int8@" in sentence for sentence in built.report["zeros"])
    for what in (r".* units", r"0\.\d+", "dense, int8@onnxruntime"):  # the staircase, the path, what zeros gain
        assert any(re.fullmatch(what, name) for name in measured(board)), what
    assert board.left() == []


@pytest.mark.parametrize(
    ("assignments", "more", "what"),
    [
        (["sparsity=2:4"], {}, "sparsity"),
        (["distill.losses=[{name: attention, pairs: [[stage1, stage1]]}]"], {}, "distill.losses: attention"),
        ([], {"stages": True}, "--stages"),
        ([], {"judged": "trajectory"}, "--judged"),
    ],
)
def test_what_is_of_edgekds_own_family_alone_is_refused_of_others(
    assignments: list[str], more: dict[str, Any], what: str
) -> None:
    with pytest.raises(ConfigError, match=rf"prune: {what}: is for nets of edgekd's own family so far; leave it out"):
        check_foreign(load_pipeline("digits", assignments), PrunePlan(latency_ratio=0.5, **more))


def test_another_runtime_than_was_asked_for_is_not_measured_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device lacks it."""
    profile = load_profile("local-cpu")
    monkeypatch.setattr(pruning, "where_of", lambda *_: where_of(profile, None).model_copy(
        update={"runtimes": (profile.runtime("onnxruntime"),)}))  # fmt: skip
    with pytest.raises(UnavailableError, match="--runtime litert: is not installed here, or not on ssh://pi; pip"):
        prune_net(load_pipeline("digits"), Pruning(ratios=(0.5,)), runtime="litert", device="ssh://pi",
                  out=tmp_path / "out", workspace=tmp_path / "w")  # fmt: skip


def test_a_net_that_no_runtime_compares_as_float_is_refused_before_its_teacher_is_trained() -> None:
    profile = load_profile("local-cpu")
    target = Target(None, None, profile, None, None, (profile.runtime("litert"),))  # type: ignore[arg-type]
    with pytest.raises(UnavailableError, match="none of its runtimes that are installed runs the float net"):
        floats(target)


def test_a_measurement_that_failed_is_made_again_where_it_is_asked_for_again(
    digits: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = load_profile("local-cpu")
    settings = Staircase(
        shape=NetShape(stem_width=8, widths=((16, 16), (16, 16)), strides=(1, 2)), step=8, preprocess=Preprocess(),
        runtime=profile.runtime("onnxruntime"), cpu=cpu(), measuring=QUICKLY,
    )  # fmt: skip
    work = Work(tmp_path / "out", tmp_path / "scratch", Progress(Silent()))
    work.out.mkdir()
    work.scratch.mkdir()

    def lost(*_: object) -> None:
        raise DeviceLostError("ssh://pi: the connection was lost")

    with monkeypatch.context() as once:
        once.setattr(staircase, "observed", lost)
        with pytest.raises(DeviceLostError, match="the connection was lost"):
            staircase.run(settings, {"data": digits}, work)
    staircase.run(settings, {"data": digits}, work)
    assert json.loads((work.out / "staircase.json").read_text("utf-8"))["nets"] > 2
