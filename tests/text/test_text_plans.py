"""A pipeline of text says what is wrong with it before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import bert

from edgekd import api, tasks
from edgekd.errors import ConfigError, UnavailableError, UnsupportedError
from edgekd.pipeline import load_pipeline
from edgekd.starting_text import drafted_text
from edgekd.text import plans
from edgekd.text.plans import ClassifierPipeline, EmbeddingPipeline

TABLE = "text,label\nwho is it,person\nwhere is it,place\n"


def embedding(*sets: str, quick: bool = False) -> EmbeddingPipeline:
    found = tasks.load("sentence-embedding", sets, quick=quick)
    assert isinstance(found, EmbeddingPipeline)
    return found


def test_a_named_student_sets_what_it_says_and_the_command_line_has_the_last_word() -> None:
    base, tiny = embedding(), embedding("student=tiny")
    assert (base.keep.layers, tiny.keep.layers) == (3, 1)
    assert (base.name, tiny.name) == ("sentence-embedding", "sentence-embedding-tiny")
    assert embedding("student=tiny", "keep.units=64").keep.units == 64


def test_quick_comes_after_the_student_and_before_the_command_line() -> None:
    assert embedding("student=tiny", quick=True).distill.train.epochs == 2
    assert embedding("distill.train.epochs=9", quick=True).distill.train.epochs == 9


def test_a_student_that_nobody_named_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"sentence-embedding: student: 'huge' is none of students: base, tiny"):
        embedding("student=huge")


@pytest.mark.parametrize(
    ("name", "sets", "why"),
    [
        ("sentence-embedding", "budget.spearman=0.8", "budget.spearman: needs pairs with scores; give pairs.path"),
        ("sentence-embedding", "budget.accuracy_drop_points=1", "embeddings have none; ask for fidelity"),
        ("sentence-embedding", "teacher.train={}", "teacher.train: is of classifiers"),
        ("sentence-embedding", "lengths.read=256", "256 tokens of a student that keeps 128 positions; raise keep.max"),
        ("sentence-embedding", "lengths.measured=129", "lengths.measured: 129 is more than lengths.read 128"),
        ("sentence-embedding", "variants=[int8]", "fp32 is what all others are held against; keep it"),
        ("sentence-embedding", "pairs.path=no.csv", "pairs.path: no.csv: no such file"),
        ("sentence-embedding", "keep.layer=3", "keep.layer: no such setting; did you mean 'layers'"),
        ("text-classification", "data.label=null", "data.label: a classifier needs the column with each text's class"),
        ("text-classification", "budget.spearman=0.8", "budget.spearman: is of embeddings; ask for accuracy_drop"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(name: str, sets: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        tasks.load(name, [sets])


def test_a_teacher_whose_package_is_not_there_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plans.PACKAGED, "all-MiniLM-L6-v2", "a_package_that_is_not_there")
    with pytest.raises(UnavailableError, match=r"all-MiniLM-L6-v2 is not installed; pip install 'edgekd\[text\]'"):
        api.validate("sentence-embedding")


def test_a_teachers_folder_that_is_not_there_names_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"teacher.from: nowhere: no such folder, nor one that edgekd\[text\] has"):
        _ = embedding("teacher.from=nowhere").teacher.folder


def test_commands_for_pictures_say_that_they_take_no_text() -> None:
    with pytest.raises(ConfigError, match="task sentence-embedding: `edgekd build` and `edgekd plan` take it"):
        load_pipeline("sentence-embedding")


def test_a_persons_own_table_is_pinned_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(TABLE, "utf-8")
    source = f"data={{source: text-table, path: {path}, label: label}}"
    before = tasks.load("text-classification", [source])
    path.write_text(TABLE + "when is it,time\n", "utf-8")
    assert before.data != tasks.load("text-classification", [source]).data


@pytest.mark.parametrize("name", ["sentence-embedding", "text-classification"])
def test_a_pipeline_comes_back_whole_from_what_a_lock_keeps(name: str) -> None:
    found = tasks.load(name)
    assert tasks.of_tree(found.model_dump(mode="json", by_alias=True), "lock") == found


def test_a_time_budget_buys_fewer_epochs_of_teacher_and_student() -> None:
    found = tasks.load("text-classification")
    assert isinstance(found, ClassifierPipeline)
    assert found.scaled(0.34).effort == "teacher 1 epochs, distillation 2 epochs"
    assert found.scaled(0.34, teacher=False).effort == "teacher 3 epochs, distillation 2 epochs"
    assert embedding().scaled(0.5).effort == "distillation 3 epochs"


def test_a_device_whose_compiler_has_no_encoders_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    any_: Any = api.plan
    with pytest.raises(UnsupportedError, match="cortex-m7: tflite-micro has no encoders of text; qnn, tensorrt, tens"):
        any_("sentence-embedding", targets=["cortex-m7"], workspace=tmp_path)


@pytest.mark.parametrize(
    ("task", "file", "text", "source"),
    [
        ("sentence-embedding", "lines.txt", "who is it\n", {"source": "lines"}),
        ("sentence-embedding", "mine.jsonl", '{"Question": "who"}\n', {"source": "text-table", "text": ["Question"]}),
        ("text-classification", "mine.csv", "intent,query\na,b\n", {"text": ["query"], "label": "intent"}),
    ],
)
def test_init_writes_a_pipeline_of_text_for_a_persons_data(
    tmp_path: Path, task: str, file: str, text: str, source: dict[str, Any]
) -> None:
    (tmp_path / file).write_text(text, "utf-8")
    bert.folder(tmp_path / "teacher")
    made, _ = drafted_text(task, str(tmp_path / file), str(tmp_path / "teacher"), "local-cpu", "mine")
    (tmp_path / "mine.yaml").write_text(made, "utf-8")
    loaded = tasks.load(str(tmp_path / "mine.yaml"), ["student=tiny"], quick=True)
    assert (loaded.name, loaded.task) == ("mine-tiny", task)
    assert source.items() <= loaded.data.model_dump(mode="json").items()
    assert loaded.teacher.from_ == str(tmp_path / "teacher")


@pytest.mark.parametrize(
    ("task", "file", "text", "why"),
    [
        ("text-classification", "lines.txt", "who\n", "lines have no classes"),
        ("text-classification", "mine.csv", "text,place\na,b\n", "which column has the label"),
        ("sentence-embedding", "mine.csv", "a,b\na,b\n", "which column has the text"),
        ("sentence-embedding", "mine.pdf", "x", "text comes as .txt"),
        ("sentence-embedding", "none.csv", None, "no such file"),
    ],
)
def test_init_says_which_data_it_cannot_take(tmp_path: Path, task: str, file: str, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / file).write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=why):
        drafted_text(task, str(tmp_path / file), None, "local-cpu", "mine")


STAGE = {"text": "general", "teacher": "pretrained", "learn": {"losses": [{"name": "hidden"}]}}
LABELLED = {"source": "docstrings", "label": "package", "packages": ["numpy", "rich"]}
TUNED = {"train": {"train": {"epochs": 1}}}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"teacher": TUNED}, "stages: 1: reads general text; say with general where that is from"),
        ({"general": {"source": "docstrings"}}, "stages: 1: the teacher is tuned already; leave it out, or give"),
        (
            {"general": {"source": "docstrings"}, "teacher": TUNED, "keep": {"vocabulary": 9000}},
            "stages: ask the teacher's layers, token by token; leave keep.vocabulary out",
        ),
    ],
)
def test_stages_without_what_they_need_are_refused(more: dict[str, Any], said: str) -> None:
    tree = {"name": "x", "task": "text-classification", "targets": ["x86"], "data": LABELLED, "stages": [STAGE]}
    with pytest.raises(ConfigError, match=said):
        tasks.of_tree(tree | more, "x.yaml")


def test_a_length_that_is_fixed_is_none_that_is_not_read() -> None:
    with pytest.raises(ConfigError, match=r"lengths.fixed: 200 is more than lengths.read 128"):
        tasks.load("sentence-embedding", ["lengths.fixed=200"])


def test_made_up_texts_are_not_for_a_vocabulary_of_ones_own() -> None:
    tree = {"name": "x", "task": "text-classification", "targets": ["x86"], "data": LABELLED,
            "distill": {"mixed": 2, "losses": [{"name": "kd"}]}, "keep": {"vocabulary": 9000}}  # fmt: skip
    with pytest.raises(ConfigError, match=r"distill\.mixed: the teacher is asked of the student's tokens; leave keep"):
        tasks.of_tree(tree, "x.yaml")
