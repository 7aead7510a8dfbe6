"""Text of every source comes in whole, and what is no text says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekd.data.stages import Parts
from edgekd.errors import ConfigError, DataError
from edgekd.text import corpus
from edgekd.text.corpus import Corpus, read
from edgekd.text.docstrings import is_prose, of_source, sentences
from edgekd.text.sources import DocstringsSource, LinesSource, TextHuggingFaceSource, TextTableSource

ROWS = [{"text": f"text {number}", "label": "even" if number % 2 == 0 else "odd"} for number in range(40)]


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    elif path.suffix == ".csv":
        path.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]), "utf-8")
    else:
        pa = pytest.importorskip("pyarrow", reason="comes with edgekd[data]")
        import pyarrow.parquet

        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def labelled(path: Path, **more: Any) -> TextTableSource:
    return TextTableSource(source="text-table", path=str(path), label="label", **more)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_tables_of_every_form_hold_the_same_texts_and_classes(tmp_path: Path, suffix: str) -> None:
    found = read(labelled(table(tmp_path / f"t{suffix}", ROWS)))
    assert found.texts == [row["text"] for row in ROWS]
    assert found.labels is not None
    assert [found.names[label] for label in found.labels] == [row["label"] for row in ROWS]


def test_a_huggingface_folder_keeps_its_splits_and_class_names(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="comes with edgekd[data]")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    made = {name: datasets.Dataset.from_dict({"text": [f"{name} {n}" for n in range(6)], "label": [0, 1] * 3}, features)
            for name in ("train", "test")}  # fmt: skip
    datasets.DatasetDict(made).save_to_disk(str(tmp_path / "d"))
    found = read(TextHuggingFaceSource(source="text-huggingface", path=str(tmp_path / "d"), label="label"))
    assert found.names == ("a", "b")
    assert found.splits == ["train"] * 6 + ["test"] * 6
    rows = found.rows(Parts(val_share=0.2))
    assert {found.texts[row] for row in rows["test"]} == {f"test {n}" for n in range(6)}


def test_lines_are_texts_and_empty_ones_are_none(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("\ufeffone\n\n  two \r\n你们\n你好\n", "utf-8")
    assert read(LinesSource(source="lines", path=str(path))).texts == ["one", "two", "你们", "你好"]


def test_several_columns_of_a_row_are_texts_that_share_its_class(tmp_path: Path) -> None:
    rows = [{"a": f"a{n}", "b": f"b{n}", "label": n % 2} for n in range(8)]
    found = read(labelled(table(tmp_path / "t.jsonl", rows), text=("a", "b"), labels=("x", "y")))
    assert found.texts[8:] == [f"b{n}" for n in range(8)]
    assert found.labels == [0, 1] * 8
    assert found.names == ("x", "y")


def test_an_empty_text_of_a_table_is_a_text(tmp_path: Path) -> None:
    assert read(labelled(table(tmp_path / "t.jsonl", [*ROWS, {"text": "", "label": "odd"}]))).texts[-1] == ""


def test_splits_follow_from_the_texts_whatever_their_order() -> None:
    texts = [f"text {number}" for number in range(50)]
    one, two = Corpus(texts), Corpus(texts[::-1])
    first, second = one.rows(Parts()), two.rows(Parts())
    assert {one.texts[row] for row in first["val"]} == {two.texts[row] for row in second["val"]}
    assert sum(map(len, first.values())) == 50


def test_equal_texts_come_into_one_split() -> None:
    found = Corpus([f"text {number}" for number in range(20)] * 2)
    parts = {name: {found.texts[row] for row in rows} for name, rows in found.rows(Parts()).items()}
    assert not parts["train"] & parts["val"]
    assert not parts["train"] & parts["test"]


@pytest.mark.parametrize("name", ["t.txt", "t.csv", "t.jsonl"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(" \n", "utf-8")
    with pytest.raises(DataError, match=r"t\.\w+: is empty; give it a"):
        read(_source(tmp_path / name))


@pytest.mark.parametrize("name", ["t.txt", "t.csv", "t.jsonl"])
def test_a_file_that_is_not_utf8_names_the_first_wrong_byte(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"text\ncaf\xe9\n")
    with pytest.raises(DataError, match="is not UTF-8: byte 8 is 0xe9; save it as UTF-8"):
        read(_source(tmp_path / name))


def _source(path: Path) -> LinesSource | TextTableSource:
    return LinesSource(source="lines", path=str(path)) if path.suffix == ".txt" else labelled(path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("missing", ["text", "label"])
def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path, suffix: str, missing: str) -> None:
    rows = [{"other" if name == missing else name: value for name, value in row.items()} for row in ROWS]
    with pytest.raises(DataError, match=f"has no column '{missing}', only .*other"):
        read(labelled(table(tmp_path / f"t{suffix}", rows)))


def test_a_row_without_a_label_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 41 has no label; give it its class, or leave it out"):
        read(labelled(table(tmp_path / "t.jsonl", [*ROWS, {"text": "x", "label": None}])))


def test_a_row_whose_text_is_a_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 1 has 5 for a text"):
        read(labelled(table(tmp_path / "t.jsonl", [{"text": 5, "label": "odd"}, *ROWS])))


@pytest.mark.parametrize(("label", "said"), [("only", "two are needed"), (1, "all texts are of class '1'; two are")])
def test_one_class_is_refused(tmp_path: Path, label: str | int, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(labelled(table(tmp_path / "t.jsonl", [{"text": f"t {n}", "label": label} for n in range(9)])))


def test_a_class_of_fewer_texts_than_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class 'rare' has 2 texts; 3 are the least"):
        read(labelled(table(tmp_path / "t.jsonl", [*ROWS, *[{"text": f"r{n}", "label": "rare"} for n in range(2)]])))


def test_a_line_that_is_no_object_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": "b"}\n[1]\n', "utf-8")
    with pytest.raises(DataError, match=r"line 2 is '\[1\]'; write an object"):
        read(labelled(tmp_path / "t.jsonl"))


def test_a_path_that_is_not_there_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match=r"data.path: nowhere\.txt: no such file"):
        LinesSource(source="lines", path="nowhere.txt").pinned()
    with pytest.raises(ConfigError, match=r"a table of texts is \.csv, \.jsonl, \.parquet"):
        TextTableSource(source="text-table", path="t.xlsx").pinned()


def test_docstrings_give_sentences_and_no_code() -> None:
    source = '''
def f():
    """Return the first of them. It is never empty!

    >>> f(1)
    x = 3

    Args: this and that are given here."""
'''
    assert list(of_source(source)) == ["Return the first of them.", "It is never empty!"]
    assert not is_prose("Call foo.bar with it.")
    assert not list(of_source("this is no python ("))


@pytest.mark.slow
def test_docstrings_are_many_and_the_same_each_time() -> None:
    first, versions = sentences(("numpy",))
    assert sentences(("numpy",))[0] == first
    assert len(first) == len(set(map(str.lower, first))) > 8000
    assert set(versions) == {"python", "numpy"}


def test_a_package_that_is_not_installed_is_refused() -> None:
    with pytest.raises(DataError, match="no-such-package is not installed; leave it out of packages"):
        read(DocstringsSource(packages=("no-such-package",)))


def test_utf8_takes_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"\xef\xbb\xbfhello")
    assert corpus.utf8(tmp_path / "t") == "hello"
