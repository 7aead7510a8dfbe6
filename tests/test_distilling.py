"""`edgekd distill` and `edgekd bakeoff`: what they leave, that they go on, and a sentence for every misuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import own
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification
from typer.testing import CliRunner

from edgekd.advice import advice
from edgekd.bakeoff import CONTROLS, METHODS, BakeOff, Pace, Run, best_rate, check_outputs, fitting, start_of
from edgekd.cli.app import app
from edgekd.distilling import distil, student_shape
from edgekd.errors import ConfigError
from edgekd.keeping import cheaper
from edgekd.models.residual_cnn import register
from edgekd.models.shape import NetShape, resnet
from edgekd.pipeline import Pipeline, load_pipeline
from edgekd.report.baked import markdown, plot
from edgekd.report.looks import taught
from edgekd.train.losses.recipes import RECIPES

SHAPE = NetShape(stem_width=8, stem_stride=2, widths=((8, 8), (16, 16)), strides=(1, 2))


@pytest.mark.slow
def test_a_student_comes_as_a_folder_that_transformers_load(micro: Pipeline, workspace: Path, tmp_path: Path) -> None:
    report = distil(micro, SHAPE, out=tmp_path / "student", workspace=workspace)
    register()
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "student")
    assert model.config.widths == [[8, 8], [16, 16]]
    assert list(report["looks"]) == ["train", "val", "test", "test, shifted"]
    for row in report["looks"].values():
        assert 0 <= row["ece"] <= 1
        assert row["nll"] > 0
        assert 0 <= row["agreement"] <= 1
    assert json.loads((tmp_path / "student" / "report.json").read_text("utf-8")) == report
    page = (tmp_path / "student" / "report.md").read_text("utf-8")
    assert "| test, shifted | 4500 |" in page
    kept = report["training"].get("targets")
    assert ("T.stddev" in page) == (kept is not None and kept["t_stddev"] is not None)
    assert report["training"]["start"]["of"] == 2  # the teacher's blocks, from which it started unasked
    again = distil(micro, SHAPE, out=tmp_path / "student", workspace=workspace)
    assert again == report


def test_what_the_teacher_said_once_is_told_with_how_far_its_views_move_it() -> None:
    told = {"views": 16, "form": "int8 in onnxruntime", "right_percent": 99.12, "t_stddev": 0.00123}
    (sentence, _) = taught(told)
    assert "16 views of each training sample once (int8 in onnxruntime), the first ones right on 99.1 %" in sentence
    assert "moves by 0.0012" in sentence
    assert "moves" not in taught(told | {"views": 1, "t_stddev": None})[0]
    assert taught(None) == []


def test_a_folder_with_other_things_is_left_alone(micro: Pipeline, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", "utf-8")
    (tmp_path / "training.json").write_text("{}", "utf-8")  # as others may call theirs, too
    with pytest.raises(ConfigError, match=r"--out .*: is there and nothing that edgekd distill left; choose another"):
        distil(micro, SHAPE, out=tmp_path, workspace=tmp_path / "w")
    assert not list((tmp_path / "w").glob("objects/*"))  # nothing was trained for it
    assert (tmp_path / "thesis.txt").read_text("utf-8") == "mine"


def test_a_student_is_named_by_depth_by_file_or_by_a_folder(tmp_path: Path) -> None:
    assert student_shape("resnet20") == resnet(20)
    path = tmp_path / "shape.yaml"
    path.write_text("{stem_width: 8, stem_stride: 2, widths: [[8, 8], [16, 16]], strides: [1, 2]}", "utf-8")
    assert student_shape(str(path)) == SHAPE
    config = SHAPE.model_dump(mode="json") | {"model_type": "edgekd_residual_cnn", "architectures": ["x"]}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    assert student_shape(str(tmp_path)) == SHAPE


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("resnet21", r"--student resnet21: has 6 n \+ 2 layers: resnet8, resnet14"),
        ("mobilenet", r"--student mobilenet: neither a folder, nor a .yaml .*, nor a name like resnet20"),
        ("nowhere.yaml", r"--student nowhere.yaml: no such file"),
        ("{folder}", r"--student .*: has no config.json"),
        ("{folder}/broken", r"--student .*config.json: is no JSON of a net: .*; give another"),
        ("{folder}/latin.yaml", r"--student .*latin.yaml: is no text in UTF-8"),
        ("{folder}/odd.yaml", r"odd.yaml:1: widht: no such setting; did you mean 'stem_width'|'widths'"),
    ],
)
def test_a_student_that_cannot_be_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{widths", "utf-8")
    (tmp_path / "latin.yaml").write_bytes(b"stem_width: \xff")
    (tmp_path / "odd.yaml").write_text("{stem_width: 8, widths: [[8, 8]], strides: [1], widht: 3}", "utf-8")
    with pytest.raises(ConfigError, match=sentence):
        student_shape(text.format(folder=tmp_path))


def invoked(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    told = str(result.exception) if result.exception and not isinstance(result.exception, SystemExit) else ""
    return result.exit_code, result.output + told


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["distill", "digits"], "Missing option '--student'"),
        (["distill", "digits", "--student", "resnet9"], "resnet9: has 6 n + 2 layers"),
        (["distill", "nowhere", "--student", "resnet8"], "nowhere"),
        (["distill", "digits", "--student", "resnet8", "--set", "distill.start=copy"], "distill.start"),
        (["distill", "digits", "--student", "resnet8", "--set", "distill.losses=[{name: kdd}]"], "distill.losses.0"),
        (["bakeoff", "digits", "--student", "resnet8", "--recipe", "nonsense"], "--recipe nonsense: no such recipe"),
        (["bakeoff", "digits", "--student", "resnet8", "--recipe", "kd"], "--recipe kd: is a control"),
        (["bakeoff", "digits", "--student", "resnet8", "--rates", "fast"], "write numbers like"),
        (["bakeoff", "digits", "--student", "resnet8", "--rates", "0,0.1"], "write rates above 0"),
        (["bakeoff", "digits", "--student", "resnet8", "--rates", "nan"], "write rates above 0"),
        (["bakeoff", "digits", "--student", "resnet8", "--rates", ""], "write rates above 0"),
        (["bakeoff", "digits", "--student", "resnet8", "--out", __file__], "test_distilling.py: is a file; choose"),
        (
            ["bakeoff", "digits", "--student", "resnet8", "--set", "distill.dual_head=0.5"],
            "leave distill.dual_head out",
        ),
        (["distill", "digits", "--student", "resnet8", "--tensorboard", __file__], "cannot be written"),
        (
            [
                "distill",
                "digits",
                "--student",
                "resnet8",
                "--set",
                "distill.losses=[{name: kd, start: 0.8, stop: 0.3}]",
            ],
            "start 0.8 is not before stop 0.3",
        ),
        (
            [
                "distill",
                "digits",
                "--student",
                "resnet8",
                "--set",
                "distill.losses=[{name: kd, start: 0.9, ramp: 0.5}]",
            ],
            "ramp 0.5 from start 0.9 ends after stop 1",
        ),
    ],
)
def test_each_misuse_gets_its_sentence(words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    code, told = invoked(*words)
    assert code != 0
    assert sentence in told


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (["distill.targets={keep: always}", "views.mixup=0.2"], r"keep: always: mixed views belong to a batch"),
        (["distill.targets={keep: always}", "distill.losses=[{name: rkd, pairs: [[pooled, pooled]]}]"],
         r"keep: always: rkd needs the teacher's layers, which are not kept"),
        (["distill.dual_head=0.5", "distill.losses=[{name: kd}]"], r"dual_head: one head learns from labels"),
        (["distill.dual_head=0.5", "distill.losses=[{name: cross-entropy}]"], r"and one from the teacher's logits"),
        (["distill.assistant=auto", "distill.start=teacher"], r"assistant: auto: start: teacher is of the teacher"),
    ],
)  # fmt: skip
def test_targets_that_cannot_be_kept_are_refused_before_anything_runs(assignments: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_pipeline("digits", assignments)


def test_targets_are_kept_where_that_spares_the_teacher_a_fifth() -> None:
    def kept(*assignments: str) -> bool:
        pipeline = load_pipeline("digits", list(assignments))
        return pipeline.distill.kept(pipeline.views) is not None

    assert not kept("distill.epochs=20")
    assert kept("distill.epochs=21")
    assert kept("distill.epochs=1", "distill.targets={keep: always}")
    assert not kept("distill.epochs=100", "distill.targets={keep: never}")
    assert not kept("distill.epochs=100", "views.cutmix=1.0")
    assert not kept("distill.epochs=100", "distill.losses=[{name: cross-entropy}]")


@pytest.mark.parametrize(
    ("assignments", "classes", "sentence"),
    [
        ([], None, r"kd at temperature 4 from a teacher trained with label_smoothing 0.1"),
        (["distill.losses=[{name: cross-entropy, weight: 1.0}]"], None, "ask nothing of the teacher"),
        ([], 2, "2 classes: a teacher's probabilities tell little more"),
        (
            ["distill.losses=[{name: kd, weight: 3.0}]"],
            None,
            "kd weighs 3: above 1.5 it acts as a higher learning rate",
        ),
        (["distill.epochs=90"], None, "90 epochs over 16 kept views of each sample"),
    ],
)
def test_a_recipe_that_is_known_to_go_wrong_is_told_so(
    assignments: list[str], classes: int | None, sentence: str
) -> None:
    assert any(sentence in said for said in advice(load_pipeline("digits", assignments), classes))


def test_a_sound_recipe_gets_no_advice() -> None:
    sound = ["teacher.train.label_smoothing=0.0", "distill.losses=[{name: kd}, {name: cross-entropy}]"]
    assert advice(load_pipeline("digits", sound), 10) == []


@pytest.mark.parametrize(
    ("assignments", "smaller", "sentence"),
    [
        ([], 12.0, "12 times fewer parameters than its teacher: beyond 10"),
        (["distill.losses=[{name: kd, temperature: 1.0}]"], None, "not patient: kd without labels for"),
        (["teacher.train.label_smoothing=0.0", "views.mixup=0.2"], None, "trained with views.mixup 0.2"),
    ],
)
def test_guardrails_are_said(assignments: list[str], smaller: float | None, sentence: str) -> None:
    assert any(sentence in said for said in advice(load_pipeline("digits", assignments), 10, smaller))


def test_a_loss_that_reads_the_label_is_not_called_label_free() -> None:
    for name in ("pld", "dkd", "nkd"):
        pipeline = load_pipeline("digits", [f"distill.losses=[{{name: {name}}}]"])
        assert not any("not patient" in said for said in advice(pipeline, 10))


@pytest.mark.parametrize("helped", ["distill.assistant=auto", "distill.losses=[{name: taid}, {name: cross-entropy}]"])
def test_a_far_student_that_is_helped_gets_no_advice(helped: str) -> None:
    pipeline = load_pipeline("digits", ["teacher.train.label_smoothing=0.0", helped])
    assert not any("fewer parameters" in said for said in advice(pipeline, 10, 12.0))


def test_what_the_teacher_is_asked_is_said_with_what_it_would_cost_otherwise() -> None:
    once, along = "16 views of each sample once", "each of 60 epochs along with the student"
    assert cheaper(60, 16, kept=True) == f"the teacher answers {once}, which is cheaper than {along}"
    assert cheaper(10, 16, kept=False).startswith("the teacher answers each of 10 epochs along with the student, which")
    pipeline = load_pipeline("digits", ["distill.epochs=60"])
    assert pipeline.distill.chooses(pipeline.views)
    for assignment in ("distill.targets={keep: always}", "views.cutmix=1.0"):
        settled = load_pipeline("digits", [assignment])
        assert not settled.distill.chooses(settled.views)


def test_a_recipe_that_the_student_has_no_output_for_is_left_out_or_named() -> None:
    one = NetShape(stem_width=8, widths=((8, 8),), strides=(1,))
    assert set(METHODS) - set(fitting(one)) == {"uskd"}
    assert fitting(SHAPE) == METHODS
    with pytest.raises(ConfigError, match=r"uskd teaches the student's 'stage2', and this student of 1 blocks has no"):
        check_outputs(one, ("dkd", "uskd"))


@pytest.mark.parametrize(("said", "start"), [("auto", "fresh"), ("fresh", "fresh"), ("teacher", "teacher")])
def test_losses_are_compared_on_fresh_weights_unless_blocks_are_asked_for(said: str, start: str) -> None:
    assert start_of(load_pipeline("digits", [f"distill.start={said}"])) == start


def test_every_recipe_is_a_method_or_a_control() -> None:
    assert set(METHODS) | {"cross-entropy", "kd"} == set(RECIPES)
    assert len(METHODS) >= 10


def test_the_rate_is_chosen_by_val_over_seeds() -> None:
    class Fixed(Run):
        @property
        def right(self) -> int:
            return {(0.1, 0): 80, (0.1, 1): 60, (0.2, 0): 75, (0.2, 1): 75}[self.rate, self.seed]

    runs = [Fixed("kd", rate, seed, 1, None) for rate in (0.2, 0.1) for seed in (0, 1)]
    assert best_rate(runs) == 0.2


def test_no_run_of_a_bake_off_begins_that_would_end_after_its_time() -> None:
    now = [0.0]
    pace = Pace(100.0, lambda: now[0])
    assert pace.allows(1000)  # nobody knows yet what an epoch takes
    for epochs, seconds in ((10, 20.0), (30, 0.0)):  # trained; and there already
        with pace.run(epochs):
            now[0] += seconds
    assert pace.allows(39)  # 20 + 39 x 2 s
    assert not pace.allows(40)
    now[0] = 100.0
    assert not pace.allows(0)


@pytest.mark.slow
def test_a_bake_off_ranks_recipes_beside_their_controls_and_goes_on(
    micro: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekd.baking import bakeoff

    monkeypatch.setattr("edgekd.keeping.WORTH_MACS", 0)  # so that the teachers' fastest forms are looked for

    class Count:
        ran: list[str] = []

        def started(self, *_: object) -> None: ...
        def running(self, stage: str, at: str) -> None:
            self.ran.append(f"{stage} {at}")

        def progressed(self, *_: object, **__: object) -> None: ...
        def finished(self, *_: object) -> None: ...
        def said(self, _: str) -> None: ...

    asked = BakeOff(
        student=SHAPE, recipes=("dkd", "pld"), rates=(0.05, 1e18), epochs=1, keep=1, final_epochs=2, final_seeds=2
    )

    def bake(time_s: float | None = None, asked: BakeOff = asked) -> None:
        bakeoff(micro, asked, out=tmp_path / "out", workspace=tmp_path / "w", time_s=time_s, listener=Count())

    bake(time_s=0.0)
    told = json.loads((tmp_path / "out" / "bakeoff.json").read_text("utf-8"))
    assert told["grid"] == {}
    assert sum(words.startswith("teacher.form") for words in Count.ran) == 2  # the teacher's, and the random one's
    assert told["left"] == 5 * 2 + 4 * 2
    bake()
    told = json.loads((tmp_path / "out" / "bakeoff.json").read_text("utf-8"))
    assert set(told["grid"]) == {*CONTROLS, "dkd", "pld"}
    assert set(told["final"]) > set(CONTROLS)
    assert len(told["final"]) == 4
    assert told["left"] == 0
    for row in told["grid"].values():  # at such a rate no loss stays a number, and the others go on
        assert (row["diverged"], row["best_rate"]) == (["1e+18"], 0.05)
    kd = told["final"]["kd"]
    assert kd["against"]["cross-entropy"]["n"] == 2
    by_hand = np.mean(
        [
            a["accuracy_percent"] - b["accuracy_percent"]
            for a, b in zip(kd["runs"], told["final"]["cross-entropy"]["runs"], strict=True)
        ]
    )
    assert kd["against"]["cross-entropy"]["points"][0] == pytest.approx(by_hand)
    table = (tmp_path / "out" / "bakeoff.md").read_text("utf-8")
    assert "| random-teacher | " in table
    assert "no number | 0.05 |" in table
    assert "They start with fresh weights." in table
    assert (tmp_path / "out" / "bakeoff.svg").read_text("utf-8").startswith("<svg")
    Count.ran.clear()
    bake()
    assert not [words for words in Count.ran if "rate 0.05" in words]

    assert markdown(told) == table
    same = told | {"asked": told["asked"] | {"final_student": told["asked"]["student"]}}
    assert markdown(same) == table  # it is no other student that is named again
    assert plot(told) == (tmp_path / "out" / "bakeoff.svg").read_text("utf-8")
    other = SHAPE.model_copy(update={"widths": ((8, 8), (24, 24))})
    bake(asked=asked.model_copy(update={"final_student": other}))
    trained = [words for words in Count.ran if words.startswith("distill.float") and "1e+18" not in words]
    assert len(trained) == 4 * 2  # the second round alone
    assert all(words.endswith("2 epochs") for words in trained)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["module", "onnx", "folder"])
def test_every_kind_of_teacher_teaches(kind: str, micro_settings: list[str], workspace: Path, tmp_path: Path) -> None:
    if kind == "folder":
        distil(load_pipeline("digits", micro_settings), SHAPE, out=tmp_path / "teacher", workspace=workspace)
        given = f"{{from: {tmp_path / 'teacher'}, trust: true}}"
    else:
        code = own.teacher(tmp_path)
        given = f"{{from: {code}, weights: {code.with_suffix('.safetensors')}, trust: true}}"
        if kind == "onnx":
            net = own.net()
            net.load_state_dict(load_file(code.with_suffix(".safetensors")))
            program = torch.onnx.export(
                net.eval(), (torch.zeros(2, 1, 28, 28),), dynamo=True, verbose=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )  # fmt: skip
            assert program is not None
            program.save(str(tmp_path / "teacher.onnx"))
            given = f"{{from: {tmp_path / 'teacher.onnx'}, trust: true}}"
    kept = [line for line in micro_settings if not line.startswith(("teacher", "search"))]
    pipeline = load_pipeline("digits", [*kept, f"teacher={given}"])
    report = distil(pipeline, SHAPE, out=tmp_path / "student", workspace=workspace, allow_code=True)
    assert report["looks"]["test"]["n"] == 4500
    assert (tmp_path / "student" / "model.safetensors").is_file()
