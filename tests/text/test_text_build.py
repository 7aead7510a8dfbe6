"""Builds of text from end to end, with a tiny teacher of random weights: all stages are real, little is learnt."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bert

from edgekd import api, measuring, tasks
from edgekd.deploy import subject
from edgekd.deploy.bundle import Built
from edgekd.engine.events import Silent
from edgekd.hardware.profile import load_profile
from edgekd.report import targets_page
from edgekd.tasks import AnyPipeline
from edgekd.text import single_file

TARGET = str(Path(__file__).parents[1] / "micro-cpu.yaml")
WORDS = ["cat", "dog", "mat", "road", "file", "red", "blue", "sat", "ran", "read", "write", "open", "one", "two"]
ASKED = {"who": "person", "where": "place", "what": "thing"}
SETS = [
    f"targets=[{TARGET}]", "keep={layers: 1, heads: 2, units: 24, max_positions: 64, texts: 32}",
    "calibration_texts=32", "lengths={train: 32, read: 64, measured: 16}", "judged_texts=40", "precision=float32",
]  # fmt: skip


class Count(Silent):
    def __init__(self) -> None:
        self.ran: list[str] = []

    def running(self, stage: str, place: str) -> None:
        self.ran.append(stage)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, lines of text, pairs with scores, and a table with classes."""
    folder = tmp_path_factory.mktemp("text")
    bert.folder(folder / "teacher")
    draw = random.Random(0)
    texts = sorted({" ".join(draw.choices(WORDS, k=draw.randint(3, 9))) for _ in range(400)})
    (folder / "lines.txt").write_text("\n".join(texts[:300]) + "\n", "utf-8")
    pairs = [f"{first},{second},{draw.random():.2f}" for first, second in zip(texts[:100], texts[300:], strict=False)]
    (folder / "pairs.csv").write_text("\n".join(["sentence1,sentence2,score", *pairs]) + "\n", "utf-8")
    rows = [f"{asked} {' '.join(draw.choices(WORDS, k=4))},{ASKED[asked]}" for asked in ASKED for _ in range(80)]
    (folder / "table.csv").write_text("\n".join(["text,label", *rows]) + "\n", "utf-8")
    return folder


def settings(home: Path) -> list[str]:
    return [
        *SETS, f"data={{source: lines, path: {home / 'lines.txt'}}}", f"teacher.from={home / 'teacher'}",
        f"pairs.path={home / 'pairs.csv'}", "distill.train={epochs: 2, batch: 16, threads: 1}",
        "budget={spearman_drop_points: 100, fidelity: 0.01, size_mib: 1}",
    ]  # fmt: skip


def embedding(home: Path, *more: str) -> AnyPipeline:
    return tasks.load("sentence-embedding", [*settings(home), *more])


def run(home: Path, pipeline: AnyPipeline, **more: Any) -> Built:
    (done,) = api.build(pipeline, workspace=home / "workspace", out=home / "dist", **more)
    return done


@pytest.fixture(scope="module")
def built(home: Path) -> Built:
    return run(home, embedding(home), include_samples=3)


def ask(folder: Path, *arguments: str) -> str:
    """`run.py` alone: nothing of edgekd can be imported."""
    done = subprocess.run(
        [sys.executable, "-I", folder / "run.py", *arguments], capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_variant_is_measured_and_judged_against_the_teachers_best_file(built: Built) -> None:
    report = built.report
    every = {"fp32", "fp32@openvino", "fp16-weights", "int8-dynamic", "int8", "int8@openvino"}
    teachers = {f"teacher-{name}" for name in every} - {"teacher-fp16-weights"}
    assert set(report["variants"]) | set(report["not_written"]) == every | teachers
    assert report["teachers_best"] in teachers
    assert {verdict["limit"] for verdict in report["verdicts"]} == {"fidelity", "spearman_drop_points", "size_mib"}
    for row in report["variants"].values():
        assert row["latency"]["kind"] == "measured"
        assert row["test"]["pairs"] == 70
        assert row["test"]["n"] == report["texts"]["test"]
    for name in ("fp16-weights", "int8-dynamic"):
        assert report["variants"][name]["size_bytes"] < report["variants"]["fp32"]["size_bytes"]
    assert report["variants"]["fp16-weights"]["test"]["cosine_to_float"][0] > 0.9999
    assert set(report["rejected"]) == every - {report["shipped"]} - set(report["not_written"])


@pytest.mark.slow
def test_what_judges_is_not_learnt_from(built: Built) -> None:
    texts = built.report["texts"]
    assert texts["left_out"] == 100
    assert sum(texts[split] for split in ("train", "val", "test")) == 200


@pytest.mark.slow
def test_the_same_again_runs_nothing_and_needs_no_torch(built: Built, home: Path) -> None:
    watch = Count()
    assert run(home, embedding(home), listener=watch, include_samples=3).report == built.report
    assert watch.ran == []
    steps = api.plan(embedding(home), workspace=home / "workspace")[TARGET]
    assert all(step.cached for step in steps)


@pytest.mark.slow
def test_a_build_that_is_there_needs_neither_torch_nor_a_runtime(built: Built, home: Path) -> None:
    code = (
        "import sys; from edgekd import api, tasks;"
        f"api.plan(tasks.of_tree({embedding(home).model_dump(mode='json', by_alias=True)!r}, 'x'),"
        f"workspace=__import__('pathlib').Path({str(home / 'workspace')!r}));"
        "print([name for name in ('torch', 'transformers', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_command_prints_what_each_file_is_worth_and_which_one_ships(built: Built, home: Path) -> None:
    sets = [part for assignment in settings(home) for part in ("--set", assignment)]
    done = subprocess.run(
        [sys.executable, "-m", "edgekd", "build", "sentence-embedding", *sets, "--include-samples", "3",
         "--workspace", str(home / "workspace"), "--out", str(home / "dist")],
        capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "0 stages ran" in done.stderr
    assert f"{built.report['shipped']} (ships)" in done.stdout
    assert "Spearman x 100" in done.stdout
    assert "spearman_drop_points" in done.stdout


@pytest.mark.slow
def test_a_page_of_several_targets_has_a_line_for_text(built: Built) -> None:
    line = dict(zip(targets_page.HEADINGS, targets_page.cells(targets_page.row(built.report)), strict=True))
    assert line["target"] == "local-cpu"
    assert line["accuracy on test"].endswith("like the teacher (device)")
    assert line["latency"].endswith("ms measured")


@pytest.mark.slow
def test_a_bundle_reads_any_text_without_edgekd(built: Built, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(built.folder, tmp_path / "elsewhere"))
    long, other = "cat " * 3000, "東京 ünïcode"
    rows = [json.loads(line) for line in ask(folder, "the cat sat", "", long, other, "--json").splitlines()]
    assert [row["text"] for row in rows] == ["the cat sat", "", long, other]
    vectors = np.array([row["embedding"] for row in rows])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert ask(folder, "the cat sat", "the cat sat", "--alike").split() == ["1.000"] * 4
    assert len(ask(folder, "--lines", str(folder / "samples" / "texts.txt")).splitlines()) == 3


@pytest.mark.slow
def test_a_bundle_says_what_it_reads_and_every_file_of_it(built: Built) -> None:
    manifest = json.loads((built.folder / "manifest.json").read_text("utf-8"))
    assert manifest["signature"]["text"]["max_length"] == 64
    assert manifest["signature"]["outputs"][0]["meaning"] == "embedding"
    assert {
        "model.onnx",
        "tokenizer.json",
        "run.py",
        "runtimes.py",
        "report.md",
        "transformers/model.safetensors",
    } < set(manifest["files"]) or manifest["model"] == "model.xml"


@pytest.mark.slow
def test_an_embedding_bundle_loads_in_sentence_transformers(built: Built) -> None:
    library = pytest.importorskip("sentence_transformers", reason="is not among edgekd's own dependencies")
    theirs = library.SentenceTransformer(str(built.folder / "transformers"), device="cpu")
    texts = ["the cat sat on the mat", "who ran?"]
    own = np.array([json.loads(line)["embedding"] for line in ask(built.folder, *texts, "--json").splitlines()])
    assert ((theirs.encode(texts) * own).sum(1) > 0.95).all()  # one is a float model, the other what ships


@pytest.fixture(scope="module")
def fixed(home: Path) -> Built:
    """For a device like this CPU that wants fixed shapes, as NPUs do."""
    told = Path(TARGET).read_text("utf-8").replace("name: local-cpu", "name: fixed-cpu")
    (home / "fixed-cpu.yaml").write_text(f"{told}limits: {{fixed_shapes: true}}\n", "utf-8")
    return run(home, embedding(home, f"targets=[{home / 'fixed-cpu.yaml'}]", "lengths.fixed=8", "name=fixed"))


@pytest.mark.slow
def test_a_device_of_fixed_shapes_gets_one_length_and_says_what_it_cuts(fixed: Built) -> None:
    report = fixed.report
    assert (report["length"], report["read"], report["padded"]) == (8, 8, True)
    assert 0 < report["cut"] < report["texts"]["test"]  # texts have 5 to 11 tokens
    told = (fixed.folder / "report.md").read_text("utf-8")
    assert "every text is padded to 8 tokens" in told
    assert f"{report['cut']} of {report['texts']['test']} test texts are longer than 8 tokens" in told
    inputs = json.loads((fixed.folder / "manifest.json").read_text("utf-8"))["signature"]["inputs"]
    assert [spec["shape"] for spec in inputs] == [[1, 8]] * 2


@pytest.mark.slow
def test_a_bundle_of_fixed_length_pads_and_answers_as_the_free_graph_does(
    built: Built, home: Path, tmp_path: Path
) -> None:
    answers: list[Any] = []
    for name in ("fixed", "free"):
        target = home / "fixed-cpu.yaml" if name == "fixed" else TARGET
        sets = [f"targets=[{target}]", "lengths.fixed=8", f"name={name}-fp32", "variants=[fp32]", "weights=false"]
        folder = run(home, embedding(home, *sets)).folder
        rows = ask(folder, "the cat", "", "who ran?", "--json").splitlines()
        answers.append(np.array([json.loads(row)["embedding"] for row in rows]))
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)


@pytest.fixture(scope="module")
def trimmed(home: Path) -> Built:
    return run(home, embedding(home, "keep.vocabulary=70", "variants=[fp32]", "name=trimmed", "weights=false"))


@pytest.mark.slow
def test_a_trimmed_vocabulary_is_told_with_what_it_lacks(trimmed: Built) -> None:
    assert "a vocabulary of 70 pieces lacks" in trimmed.report["training"]["vocabulary"]
    assert not (trimmed.folder / "transformers").exists()
    assert len(ask(trimmed.folder, "the cat sat").splitlines()) == 1


@pytest.mark.slow
def test_a_lock_builds_it_again_with_the_same_decision(trimmed: Built, home: Path, tmp_path: Path) -> None:
    again = api.rebuild(trimmed.folder / "edgekd.lock", workspace=home / "workspace", out=tmp_path / "again")
    assert again.report["shipped"] == trimmed.report["shipped"]
    assert not [sentence for sentence in again.report["replayed"] if "came out as" in sentence]


@pytest.mark.slow
def test_what_is_no_stock_bert_says_why_and_loads_with_edgekd(home: Path) -> None:
    from transformers import AutoModel

    sets = ["keep.layers=0", "name=static", "variants=[fp32]", "distill.freeze_words=false"]
    folder = run(home, embedding(home, *sets)).folder
    assert not (folder / "transformers").exists()
    assert "a static embedding is no BERT" in (folder / "edgekd-encoder" / "why_not.txt").read_text("utf-8")
    model = AutoModel.from_pretrained(folder / "edgekd-encoder").eval()
    ids, mask = bert.read(folder / "edgekd-encoder", ["the cat sat"])
    (own,) = (json.loads(line)["embedding"] for line in ask(folder, "the cat sat", "--json").splitlines())
    np.testing.assert_allclose(model(ids, mask).pooler_output[0].detach().numpy(), own, atol=1e-5)


@pytest.mark.slow
def test_a_classifier_learns_from_a_table_and_loads_in_transformers(home: Path) -> None:
    from transformers import pipeline

    done = run(home, tasks.load("text-classification", [
        *SETS, f"data={{source: text-table, path: {home / 'table.csv'}, label: label}}",
        f"teacher.from={home / 'teacher'}",
        "teacher.train.train={epochs: 6, batch: 16, learning_rate: 3e-3, threads: 1}",
        "distill.train={epochs: 6, batch: 16, learning_rate: 3e-3, threads: 1}", "variants=[fp32, int8-dynamic]",
        "budget={accuracy_drop_points: 60}",
    ]))  # fmt: skip
    assert done.report["variants"]["teacher-fp32"]["test"]["accuracy_percent"][0] > 80
    text = "where cat dog sat"
    own = json.loads(ask(done.folder, text, "--json"))
    (theirs,) = pipeline("text-classification", model=str(done.folder / "transformers"))([text])
    assert own["label"] == theirs["label"]
    assert own["probability"] == pytest.approx(theirs["score"], abs=0.1)


@pytest.mark.slow
def test_a_bundle_is_profiled_at_the_length_that_it_was_measured_at(built: Built) -> None:
    found = subject.find(built.folder, load_profile(TARGET))
    ready = measuring.prepared(found, subject.describe(found), {}, None, 1)
    assert {name: tensor.shape for name, tensor in ready.inputs.items()} == dict.fromkeys(
        ("input_ids", "attention_mask"), (1, 16)
    )


@pytest.mark.slow
def test_a_bundle_has_a_file_that_reads_text_itself_where_that_is_asked_for(home: Path) -> None:
    pytest.importorskip("onnxruntime_extensions", reason="comes with edgekd[text-single-file]")
    folder = run(home, embedding(home, "single_file=true", "name=single", "variants=[fp32]")).folder
    told = json.loads((folder / "model_with_tokenizer.json").read_text("utf-8"))
    assert told["variant"] == "fp32"  # never OpenVINO's, whichever ships
    assert told["read_otherwise"] == 0 < told["texts"]
    (answer,) = single_file.opened(folder / "model_with_tokenizer.onnx").run(None, {"text": np.array(["who ran?"])})
    (own,) = (json.loads(line)["embedding"] for line in ask(folder, "who ran?", "--json").splitlines())
    np.testing.assert_allclose(answer[0], own, atol=1e-4)


@pytest.mark.slow
def test_general_text_and_the_tasks_come_one_after_the_other_from_one_file(home: Path) -> None:
    """ERNIE-Tiny's four stages, each of which is named in the file, and its text and teacher with it."""
    train = "train: {epochs: 2, batch: 16, learning_rate: 3e-3, threads: 1}"
    hidden, kd = "{name: hidden}", "{name: kd, temperature: 2.0}"
    stages = ", ".join([
        f"{{text: general, teacher: pretrained, learn: {{losses: [{hidden}], {train}}}}}",
        f"{{text: general, learn: {{losses: [{hidden}], {train}}}}}",
        f"{{text: task, learn: {{losses: [{hidden}, {kd}], {train}}}}}",
        f"{{text: task, learn: {{losses: [{hidden}, {kd}, {{name: cross-entropy, weight: 1.0}}], {train}}}}}",
    ])  # fmt: skip
    watch = Count()
    done = run(home, tasks.load("text-classification", [
        *SETS, f"data={{source: text-table, path: {home / 'table.csv'}, label: label}}",
        f"general={{source: lines, path: {home / 'lines.txt'}}}", f"teacher.from={home / 'teacher'}",
        "teacher.train.train={epochs: 6, batch: 16, learning_rate: 3e-3, threads: 1}", f"stages=[{stages}]",
        "variants=[fp32]", "budget={accuracy_drop_points: 60}", "name=staged",
    ]), listener=watch)  # fmt: skip
    assert "text.staged" in watch.ran
    told = done.report["training"]["stages"]
    assert [(one["text"], one["teacher"]) for one in told] == [
        ("general", "pretrained"), ("general", "tuned"), ("task", "tuned"), ("task", "tuned")
    ]  # fmt: skip
    assert done.report["variants"]["fp32"]["test"]["accuracy_percent"][0] > 60  # of three classes


@pytest.mark.slow
def test_a_students_shape_is_found_among_a_supernets_under_what_was_measured(home: Path) -> None:
    """AutoDistil from one file: all sub-networks are scored, some measured, one is taken out and ships."""
    search = "search={band: tiny, values: 2, held_out: 40, measured: 3, speedup: 1.0, train: {epochs: 1, batch: 16}}"
    watch = Count()
    done = run(home, embedding(home, search, "variants=[fp32]", "name=sought"), listener=watch)
    assert watch.ran.count("text.supernet") == watch.ran.count("text.choose") == 1
    assert "text.distil" not in watch.ran
    found = done.report["training"]["supernet"]
    assert found["sub_networks"] > found["measured"] > 1
    config = json.loads((done.folder / "edgekd-encoder" / "config.json").read_text("utf-8"))
    assert config["hidden_size"] == found["taken"]["shape"]["hidden_size"] < 32
    again = Count()
    run(home, embedding(home, search.replace("speedup: 1.0", "speedup: 1000"), "variants=[fp32]", "name=sought"),
        listener=again)  # fmt: skip
    assert "text.choose" in again.ran
    assert "text.supernet" not in again.ran
