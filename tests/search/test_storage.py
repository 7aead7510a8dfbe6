"""A study says whose it is and where it can't be kept, each with the way out, and never a password."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from filelock import FileLock

from edgekd.errors import ConfigError, EdgekdError, UnavailableError
from edgekd.search.studies.belonging import claim, identity
from edgekd.search.studies.plans import StudyPlan
from edgekd.search.studies.storage import address, lock_path, opened

sys.path.insert(0, str(Path(__file__).parent))
from explored import OBJECTIVES, SMALL, WIDE, search


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    optuna.storages.RDBStorage(f"sqlite:///{path}").engine.dispose()
    return path


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ({"space": WIDE}, "its space was [0-9a-f]{12}, now it is [0-9a-f]{12};"),
        ({"sampler": "random", "seed": 3}, "its sampler was tpe, now it is random; its seed was 0, now it is 3;"),
        ({"sampler": "nsga2"}, "its population was not given, now it is 40; its sampler was tpe, now it is nsga2;"),
        ({"objectives": OBJECTIVES[:1]}, "minimise log_macs, now it is maximise log_parameters;"),
        ({"about": {"data": "b"}}, "its data was [0-9a-f]{12}, now it is [0-9a-f]{12};"),
    ],
)
def test_what_differs_is_named(now: dict[str, Any], says: str) -> None:
    def said(space: Any = SMALL, objectives: Any = OBJECTIVES, about: Any = None, **plan: Any) -> dict[str, Any]:
        settings = StudyPlan(**{"sampler": "tpe"} | plan)
        return identity(space, objectives, settings, settings.sampler_for(9), about or {"data": "a"})

    study = optuna.create_study(study_name="mine")
    claim(study, said(), "here")
    claim(study, said(trials=7, batch=3, population=50), "here")  # may change
    with pytest.raises(ConfigError, match=f"search: study 'mine' in here: .*{says}"):
        claim(study, said(**now), "here")


def test_a_study_that_others_made_is_left_alone() -> None:
    study = optuna.create_study()
    study.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(ConfigError, match=r"was not made by edgekd; .*take another search"):
        claim(study, {"seed": 0}, "here")


@pytest.mark.parametrize(
    ("storage", "kind", "says"),
    [
        ("://x", ConfigError, "search.storage: ://x: no URL of a database"),
        ("no database", ConfigError, "search.storage: no database: no URL of a database"),
        ("oracl://x", ConfigError, "search.storage: oracl://x: .*oracl; take sqlite"),
        ("sqlite:///$NOWHERE_SET/x.db", ConfigError, "no NOWHERE_SET in the environment; set it"),
        ("sqlite:////no/such/folder/x.db", UnavailableError, "cannot be used: .*unable to open database file"),
        ("postgresql+psycopg://me:secret@db/x", UnavailableError, r"//me:\*\*\*@db/x: the driver psycopg is not"),
        ("sqlite:///file:{ro}?mode=ro&uri=true", UnavailableError, "cannot be used: .*readonly database"),
        ("sqlite:///{text}", UnavailableError, "cannot be used: .*file is not a database"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(
    tmp_path: Path, empty: Path, storage: str, kind: type[EdgekdError], says: str
) -> None:
    (tmp_path / "text").write_text("no database\n" * 100)
    shutil.copy(empty, tmp_path / "ro.db")
    given = storage.format(ro=tmp_path / "ro.db", text=tmp_path / "text")
    with pytest.raises(kind, match=says) as caught:
        search(tmp_path, storage=given, fresh=True)
    assert "secret" not in str(caught.value)


def test_studies_of_one_file_share_its_lock_wherever_they_are(tmp_path: Path) -> None:
    """One of them makes the file; two that make it at once would spoil it."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    own = {lock_path(url, tmp_path / folder, name) for folder in ("a", "b") for name in ("one", "two")}
    assert own == {tmp_path / "shared.db.lock"}
    apart = {lock_path("postgresql://db/x", tmp_path / folder, "one") for folder in ("a", "b")}
    assert apart == {tmp_path / "a" / "one.lock", tmp_path / "b" / "one.lock"}


def test_a_file_that_was_half_made_when_its_process_was_killed_is_made_anew(tmp_path: Path) -> None:
    """Seen: killed after the table of studies and before its index, a file took two studies of one name."""
    half = sqlite3.connect(tmp_path / "small.db.new")
    half.execute("CREATE TABLE studies (study_id INTEGER NOT NULL, study_name VARCHAR(512) NOT NULL)")
    half.close()
    (tmp_path / "small.db.new-journal").touch()
    with opened(address(None, tmp_path, "small"), FileLock(tmp_path / "lock")) as storage:
        optuna.create_study(storage=storage, study_name="small")
        with pytest.raises(optuna.exceptions.DuplicatedStudyError):
            optuna.create_study(storage=storage, study_name="small")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "small.db"]
