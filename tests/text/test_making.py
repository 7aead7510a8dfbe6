"""What stands between texts and a student, and what is refused before anything is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import bert

from edgekd.engine.digest import digest_tree
from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.store import Artifact, Store
from edgekd.errors import ConfigError, DataError
from edgekd.text import folders, held, stages
from edgekd.text.plans import Pairs
from edgekd.text.settings import Student
from edgekd.text.sources import LinesSource, TextTableSource

LINES = [f"the {first} cat {second} one" for first in ("red", "blue", "two") for second in bert.WORDS[:20]]


@pytest.fixture
def builder(store: Store) -> Builder:
    return Builder(store, Silent())


def lines(folder: Path, texts: list[str]) -> LinesSource:
    (folder / "lines.txt").write_text("\n".join(texts) + "\n", "utf-8")
    return LinesSource(source="lines", path=str(folder / "lines.txt")).pinned()


def pairs(folder: Path, text: str, **more: Any) -> Pairs:
    (folder / "pairs.csv").write_text(text, "utf-8")
    return Pairs(path=str(folder / "pairs.csv"), **more).pinned()


def pair_rows(texts: list[str]) -> str:
    return "sentence1,sentence2,score\n" + "".join(f"{text},{texts[0]},{n}\n" for n, text in enumerate(texts))


def test_no_text_of_a_pair_is_learnt_from_whatever_split_it_were_in(builder: Builder, tmp_path: Path) -> None:
    known = builder.call(stages.PAIRS, pairs(tmp_path, pair_rows(LINES[:10])), {})
    source = stages.ReadTexts(source=lines(tmp_path, LINES))
    texts = held.read(builder.call(stages.DATA, source, {"pairs": known}).path)
    assert {text for split in texts.texts.values() for text in split} == set(LINES[10:])
    assert texts.about["left_out"] == 10


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_pairs_decide_by_one_part_and_are_judged_by_the_other(builder: Builder, tmp_path: Path, share: float) -> None:
    known = builder.call(stages.PAIRS, pairs(tmp_path, pair_rows(LINES[:20]), val_share=share), {})
    val, test = (held.read_pairs(known.path, split) for split in ("val", "test"))
    assert (len(val.scores), len(test.scores)) == (round(20 * share), 20 - round(20 * share))
    assert sorted([*val.scores, *test.scores]) == list(range(20))
    assert sorted([*val.first, *test.first]) == sorted(LINES[:20])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sentence1,score\na,1\n", "has no column 'sentence2', only sentence1, score"),
        ("sentence1,sentence2,score\na,b,much\n", "column 'score' has values that are no numbers"),
    ],
)
def test_pairs_that_cannot_judge_are_refused(builder: Builder, tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(DataError, match=why):
        builder.call(stages.PAIRS, pairs(tmp_path, text), {})


def test_pairs_that_changed_since_they_were_read_are_refused(builder: Builder, tmp_path: Path) -> None:
    known = pairs(tmp_path, pair_rows(LINES[:20]))
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2,score\n", "utf-8")
    with pytest.raises(ConfigError, match=r"pairs.csv: changed while the build began"):
        builder.call(stages.PAIRS, known, {})


def test_too_few_texts_to_judge_by_are_refused(builder: Builder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data: \d val texts, at least 8 are needed; give more, or a larger share"):
        builder.call(stages.DATA, stages.ReadTexts(source=lines(tmp_path, LINES[:20])), {})


def classified(builder: Builder, folder: Path, classes: int) -> dict[str, Artifact]:
    """Texts of two classes, and a teacher that knows `classes`, none for 0."""
    rows = "".join(f"{text},{'ab'[n % 2]}\n" for n, text in enumerate(LINES))
    (folder / "table.csv").write_text(f"text,label\n{rows}", "utf-8")
    source = TextTableSource(source="text-table", path=str(folder / "table.csv"), label="label").pinned()
    texts = builder.call(stages.DATA, stages.ReadTexts(source=source), {})
    bert.folder(folder / "teacher", classes=classes)
    given = stages.TakeTeacher(path=str(folder / "teacher"), digest=digest_tree(folder / "teacher"))
    model = builder.call(stages.TEACHER, given, {})
    tokens = builder.call(stages.TOKENS, stages.Tokenize(length=16), {"texts": texts, "model": model})
    return {"model": model, "tokens": tokens, "texts": texts}


@pytest.mark.parametrize(
    ("classes", "why"),
    [
        (0, "teacher.from: has no classes; say with teacher.train how it learns the data's"),
        (3, "teacher.from: its classes are LABEL_0, LABEL_1, LABEL_2, and the data's are a, b; name them alike"),
    ],
)
def test_a_teacher_of_other_classes_is_refused(builder: Builder, tmp_path: Path, classes: int, why: str) -> None:
    inputs = classified(builder, tmp_path, classes)
    settings = stages.CutStudent(keep=Student(layers=1, max_positions=None, texts=8), classes=True)
    with pytest.raises(ConfigError, match=why):
        builder.call(stages.CUT, settings, inputs)


def test_a_teacher_that_learns_classes_reads_its_first_token_as_bert_does(builder: Builder, tmp_path: Path) -> None:
    inputs = classified(builder, tmp_path, 0)
    model = folders.load(builder.call(stages.CUT, stages.CutStudent(keep=None, classes=True), inputs).path)
    shape = model.net.shape
    assert (shape.pooling, shape.pooler, shape.layers) == ("cls", True, 3)
    assert folders.classes_of(model) == ("a", "b")


def test_a_teachers_folder_that_changed_is_refused(builder: Builder, tmp_path: Path) -> None:
    bert.folder(tmp_path / "teacher")
    with pytest.raises(ConfigError, match="teacher: changed while the build began"):
        builder.call(stages.TEACHER, stages.TakeTeacher(path=str(tmp_path / "teacher"), digest="other"), {})
