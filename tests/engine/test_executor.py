"""What the engine promises: nothing runs twice, nothing half-written is kept, a wrong byte is found."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.store import Artifact, Store
from edgekd.errors import EdgekdError, UnavailableError

sys.path.insert(0, str(Path(__file__).parent))
import scripted
from scripted import EMPTY, JOIN, WRITE, Write


class Ear(Silent):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def builder(store: Store, ear: Ear) -> Builder:
    scripted.runs.clear()
    return Builder(store, ear)


def test_a_second_call_only_reads(builder: Builder) -> None:
    first = builder.call(WRITE, Write(), {})
    assert builder.call(WRITE, Write(), {}) == first
    assert scripted.runs == ["write"]


def test_a_warning_is_said_again_when_its_result_is_taken_from_the_store(builder: Builder, ear: Ear) -> None:
    builder.call(WRITE, Write(), {})
    assert ear.sentences == ["written", "warning: not much"]
    builder.call(WRITE, Write(), {})
    assert ear.sentences == ["written", "warning: not much", "warning: not much"]


def test_other_settings_are_another_result(builder: Builder) -> None:
    assert builder.call(WRITE, Write(text="a"), {}) != builder.call(WRITE, Write(text="b"), {})


def test_a_raised_version_runs_again(builder: Builder) -> None:
    builder.call(WRITE, Write(), {})
    builder.call(replace(WRITE, version=2), Write(), {})
    assert scripted.runs == ["write", "write"]


def test_what_comes_out_the_same_leaves_the_rest_cached(builder: Builder) -> None:
    builder.call(JOIN, Write(), {"part.0": builder.call(WRITE, Write(), {})})
    builder.call(JOIN, Write(), {"part.0": builder.call(replace(WRITE, version=2), Write(), {})})
    assert scripted.runs == ["write", "join", "write"]


def damage_flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[0] ^= 1
    path.write_bytes(raw)


def damage_truncate(path: Path) -> None:
    path.write_bytes(b"")


def damage_delete(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [damage_flip, damage_truncate, damage_delete])
def test_a_damaged_result_is_named_and_made_again(builder: Builder, ear: Ear, damage: object) -> None:
    made = builder.call(WRITE, Write(text="whole"), {})
    damage(made.file("text.txt"))  # type: ignore[operator]
    again = builder.call(WRITE, Write(text="whole"), {})
    assert again.file("text.txt").read_text() == "whole"
    assert any(f"write: its result {made.digest[:12]}" in sentence for sentence in ear.sentences)


def test_a_result_whose_folder_is_gone_is_named_and_made_again(builder: Builder, ear: Ear) -> None:
    made = builder.call(WRITE, Write(), {})
    made.file("text.txt").unlink()
    made.path.rmdir()
    assert builder.call(WRITE, Write(), {}) == made
    assert any("is gone" in sentence for sentence in ear.sentences)


def test_a_full_disk_is_named_with_the_way_out_and_leaves_no_result(builder: Builder) -> None:
    with pytest.raises(UnavailableError, match=r"write: cannot use the workspace .*No space left.*--workspace"):
        builder.call(WRITE, Write(fail=True), {})
    assert list(builder.store.records("write")) == []
    assert not (builder.store.root / "objects").exists()


def test_scratch_outlives_a_crash_and_goes_when_the_stage_has_finished(builder: Builder) -> None:
    with pytest.raises(UnavailableError, match="No space left"):
        builder.call(WRITE, Write(fail=True), {})
    (scratch,) = (builder.store.root / "work").rglob("scratch/seen")
    assert scratch.read_text() == "x"
    with pytest.raises(UnavailableError, match="No space left"):
        builder.call(WRITE, Write(fail=True), {})
    assert scratch.read_text() == "xx"
    builder.call(WRITE, Write(), {})
    assert len(list((builder.store.root / "work").iterdir())) == 1  # the failed one's only


def test_a_stage_that_writes_nothing_is_an_error(builder: Builder) -> None:
    with pytest.raises(EdgekdError, match="empty: finished but wrote nothing"):
        builder.call(EMPTY, Write(), {})


def test_a_wrong_or_missing_input_is_refused(builder: Builder, tmp_path: Path) -> None:
    with pytest.raises(EdgekdError, match=r"join: input 'part\.0' is a model; it takes"):
        builder.call(JOIN, Write(), {"part.0": Artifact("model", "0", tmp_path)})
    with pytest.raises(EdgekdError, match=r"join: input 'part\.\*' \(text\) was not given"):
        builder.call(JOIN, Write(), {})


def test_a_pure_stage_that_comes_out_different_says_so(builder: Builder, ear: Ear) -> None:
    made = builder.call(WRITE, Write(), {})
    damage_delete(made.file("text.txt"))
    scripted_write = scripted.write
    try:
        scripted.write = lambda settings, inputs, work: (work.out / "text.txt").write_text("other")  # type: ignore[assignment]
        builder.call(WRITE, Write(), {})
    finally:
        scripted.write = scripted_write
    assert any("came out different" in sentence for sentence in ear.sentences)


def test_a_missing_package_names_the_extra_that_brings_it(builder: Builder) -> None:
    stage = replace(WRITE, uses=("no-such-distribution",), extra="demo")
    with pytest.raises(UnavailableError, match=r"no-such-distribution is not installed; pip install 'edgekd\[demo\]'"):
        builder.call(stage, Write(), {})
