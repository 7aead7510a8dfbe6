"""`--locked` makes a bundle again: pure results to the byte, decisions as they were, measurements anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgekd.api import rebuild
from edgekd.deploy.bundle import Built
from edgekd.engine import lock
from edgekd.engine.events import Silent
from edgekd.errors import ConfigError, UnavailableError


class Ear(Silent):
    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.outcomes: dict[str, list[str]] = {}

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def finished(self, stage: str, at: str, outcome: str, seconds: float) -> None:
        self.outcomes.setdefault(stage, []).append(outcome)


@pytest.fixture(scope="module")
def own(built: Built, workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: replaying measures anew, and other tests rely on what was measured."""
    return Path(shutil.copytree(workspace, tmp_path_factory.mktemp("locked") / "workspace"))


@pytest.fixture
def locked(built: Built) -> Path:
    return built.folder / "edgekd.lock"


def edited(locked: Path, folder: Path, **changes: object) -> Path:
    tree = json.loads(locked.read_text())
    tree.update(changes)
    path = folder / "edgekd.lock"
    path.write_text(json.dumps(tree))
    return path


def test_every_pure_digest_is_reproduced_and_only_measurements_run(
    built: Built, locked: Path, own: Path, tmp_path: Path
) -> None:
    ear = Ear()
    again = rebuild(locked, workspace=own, out=tmp_path, listener=ear)
    before, after = lock.read(locked), lock.read(again.folder / "edgekd.lock")
    pure = [(row.stage, row.at, row.digest) for row in before.rows if row.nature in ("pure", "decision")]
    assert pure == [(row.stage, row.at, row.digest) for row in after.rows if row.nature in ("pure", "decision")]
    assert len(pure) > 20
    assert set(ear.outcomes["measure.compare"]) == {"ran"}
    assert set(ear.outcomes["teacher.train"]) == {"cached"}
    assert set(ear.outcomes["search.choose"]) == {"replayed"}
    assert again.report["shipped"] == built.report["shipped"]
    assert isinstance(again.report["replayed"], list)
    assert again.report["measurement"]["when"] >= built.report["measurement"]["when"]


@pytest.mark.slow
def test_in_an_empty_workspace_every_pure_digest_comes_out_again(locked: Path, tmp_path: Path) -> None:
    ear = Ear()
    again = rebuild(locked, workspace=tmp_path / "new", out=tmp_path, listener=ear)
    assert [s for s in ear.sentences if "came out as" in s] == []
    before, after = lock.read(locked), lock.read(again.folder / "edgekd.lock")
    for one, two in zip(before.rows, after.rows, strict=True):
        assert one.nature == "observation" or one.digest == two.digest, one.stage
    assert "cached" not in ear.outcomes["teacher.train"]


@pytest.mark.slow
def test_what_is_not_as_it_was_is_named_before_anything_runs(locked: Path, own: Path, tmp_path: Path) -> None:
    tree = json.loads(locked.read_text())
    for row in tree["rows"]:
        if "onnxruntime" in row["versions"]:
            row["versions"]["onnxruntime"] = "1.0.0"
    device = {**tree["device"], "model": "Other CPU"}
    ear = Ear()
    ear.started = lambda stage, at: ear.sentences.append(f"started {stage}")  # type: ignore[method-assign]
    rebuild(edited(locked, tmp_path, rows=tree["rows"], device=device), workspace=own, out=tmp_path, listener=ear)
    first = ear.sentences[: ear.sentences.index("started data.load")]
    assert any("onnxruntime 1.0.0 -> " in sentence for sentence in first)
    assert any("CPU Other CPU" in sentence for sentence in first)
    assert all(sentence.startswith("not as it was when edgekd.lock was written: ") for sentence in first)


@pytest.mark.slow
def test_a_decision_that_today_would_be_another_is_kept_and_told(
    built: Built, locked: Path, own: Path, tmp_path: Path
) -> None:
    """The lock says that the variant that lost ships; today's comparison says otherwise."""
    other = next(iter(built.report["rejected"]))
    tree = json.loads(locked.read_text())
    (row,) = [row for row in tree["rows"] if row["stage"] == "select"]
    row["files"]["decision.json"] = row["files"]["decision.json"].replace(built.report["shipped"], other)
    row["digest"] = digest_of_files(row["files"], tmp_path, "selection")
    again = rebuild(edited(locked, tmp_path, rows=tree["rows"]), workspace=own, out=tmp_path)
    assert again.report["shipped"] == other
    (told,) = [s for s in again.report["replayed"] if s.startswith("select: ")]
    assert f'today it would be {{"schema": 1, "variant": "{built.report["shipped"]}"}}' in told
    assert "Where today would have come out otherwise" in (again.folder / "report.md").read_text()


def digest_of_files(files: dict[str, str], folder: Path, kind: str) -> str:
    from edgekd.engine.digest import digest_folder

    (folder / "made").mkdir()
    for name, text in files.items():
        (folder / "made" / name).write_text(text)
    return digest_folder(kind, folder / "made")


@pytest.mark.slow
def test_a_lock_whose_decision_was_edited_is_refused(locked: Path, own: Path, tmp_path: Path) -> None:
    tree = json.loads(locked.read_text())
    (row,) = [row for row in tree["rows"] if row["stage"] == "select"]
    row["files"]["decision.json"] = "{}"
    row["digest"] = "0" * 64
    with pytest.raises(UnavailableError, match="select: its files in the lock do not have the digest"):
        rebuild(edited(locked, tmp_path, rows=tree["rows"]), workspace=own, out=tmp_path)


@pytest.mark.slow
def test_a_lock_cannot_write_outside_the_workspace(locked: Path, own: Path, tmp_path: Path) -> None:
    tree = json.loads(locked.read_text())
    (row,) = [row for row in tree["rows"] if row["stage"] == "select"]
    row["files"] = {"../../../evil.json": "{}"}
    row["digest"] = "0" * 64
    with pytest.raises(ConfigError, match=r"'\.\./\.\./\.\./evil\.json' is no plain file name; the lock was edited"):
        rebuild(edited(locked, tmp_path, rows=tree["rows"]), workspace=own, out=tmp_path)
    assert not list(own.rglob("evil.json"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a lock file"),
        ("[]", "not a lock file: it holds no object"),
        ('{"schema": 9}', "schema 9 of a lock file is newer than this edgekd reads"),
        ('{"schema": 1}', "rows: required, and not there"),
    ],
)
def test_what_is_no_lock_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "edgekd.lock").write_text(text)
    with pytest.raises(ConfigError, match=message):
        lock.read(tmp_path / "edgekd.lock")
    with pytest.raises(ConfigError, match="no such file"):
        lock.read(tmp_path / "other.lock")
