"""Pruning frees what nothing needs, the longest unused first, and never what a build or a lock needs."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.lock import Lock
from edgekd.engine.prune import entries, prune, unsound
from edgekd.engine.store import Artifact, Store
from edgekd.engine.usage import Usage

sys.path.insert(0, str(Path(__file__).parent))
import micro
import scripted
from scripted import WRITE, Write


def made(store: Store, text: str, *, idle_days: float = 0, pipeline: str = "p") -> Artifact:
    artifact = Builder(store, Silent(), pipeline=pipeline).call(WRITE, Write(text=text), {})
    then = artifact.path.stat().st_mtime - 86_400 * idle_days
    os.utime(artifact.path, (then, then))
    return artifact


def kept(store: Store) -> set[str]:
    return {entry.digest for entry in entries(store)}


def test_what_was_idle_longest_goes_first_until_the_rest_fits(store: Store) -> None:
    old, middle, new = (made(store, text * 100, idle_days=days) for text, days in (("a", 3), ("b", 2), ("c", 1)))
    gone = prune(store, max_bytes=250)
    assert [entry.digest for entry in gone] == [old.digest]
    assert kept(store) == {middle.digest, new.digest}


def test_using_an_object_makes_it_the_last_to_go(store: Store) -> None:
    old, new = made(store, "a" * 100, idle_days=3), made(store, "b" * 100, idle_days=1)
    Builder(store, Silent()).call(WRITE, Write(text="a" * 100), {})
    prune(store, max_bytes=150)
    assert kept(store) == {old.digest}
    assert new.digest not in kept(store)


def test_age_pipeline_and_kind_choose(store: Store) -> None:
    old, new = made(store, "a", idle_days=9, pipeline="one"), made(store, "b", pipeline="two")
    soft = Builder(store, Silent()).call(replace(WRITE, gives="targets"), Write(text="soft"), {})
    assert [e.digest for e in prune(store, older_than_s=86_400, dry_run=True)] == [old.digest]
    assert [e.digest for e in prune(store, pipeline="two", dry_run=True)] == [new.digest]
    assert [e.digest for e in prune(store, kind="targets")] == [soft.digest]
    assert kept(store) == {old.digest, new.digest}


def test_what_a_lock_needs_stays(store: Store, tmp_path: Path) -> None:
    needed, other = made(store, "a"), made(store, "b")
    trail = [{"stage": "write", "nature": "pure", "at": "", "key": "k", "uses": {}, "artifact": needed}]
    (tmp_path / "dist" / "p" / "cpu").mkdir(parents=True)
    lock = Lock.of({"name": "p"}, {"name": "cpu"}, {}, trail)
    (tmp_path / "dist" / "p" / "cpu" / "edgekd.lock").write_text(lock.dump())
    assert [entry.digest for entry in prune(store, keep=[tmp_path / "dist"])] == [other.digest]


def test_what_a_running_build_needs_stays_and_what_a_dead_one_needed_goes(store: Store) -> None:
    needed = made(store, "a")
    with Usage(store.root).registered() as need:
        Builder(store, Silent(), need=need).call(WRITE, Write(text="a"), {})
        assert prune(store) == []

    def die() -> None:
        with Usage(store.root).registered() as need:
            Builder(store, Silent(), need=need).call(WRITE, Write(text="a"), {})
            os.kill(os.getpid(), signal.SIGKILL)

    assert os.WIFSIGNALED(micro.in_child(die))
    assert len(list((store.root / "running").iterdir())) == 2  # the dead one's file and its lock
    assert [entry.digest for entry in prune(store)] == [needed.digest]
    assert list((store.root / "running").iterdir()) == []


def test_orphans_go_and_runs_without_an_object_too(store: Store) -> None:
    orphan = store.root / "objects" / ("0" * 64)
    orphan.mkdir(parents=True)
    (orphan / "x").write_text("x")
    stays = made(store, "a")
    gone = made(store, "b")
    prune(store, older_than_s=1e9)
    assert not orphan.exists()
    assert kept(store) == {stays.digest, gone.digest}
    prune(store)
    assert list((store.root / "runs" / "write").iterdir()) == []


def test_a_build_beside_a_pruner_ends_well(tmp_path: Path) -> None:
    """One process prunes all it may, over and over, while another builds."""
    root = tmp_path / "w"
    expected = micro.run(tmp_path / "undisturbed")
    child = os.fork()
    if child == 0:
        try:
            while True:
                prune(Store(root))
                time.sleep(0.001)
        finally:
            os._exit(1)
    try:
        for _ in range(3):
            with Usage(root).registered() as need:
                assert micro.run(root, Builder(Store(root), Silent(), need=need)) == expected
        assert os.waitpid(child, os.WNOHANG) == (0, 0)  # it was at it all the time
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def observed(store: Store, text: str) -> Artifact:
    """The same measurement again, with another result."""
    from edgekd.engine.lock import Lock

    stage = replace(WRITE, nature="observation")
    replay = Lock.of({}, {"name": "cpu"}, {}, [])
    real = scripted.write
    try:
        scripted.write = lambda settings, inputs, work: (work.out / "text.txt").write_text(text)  # type: ignore[assignment]
        return Builder(store, Silent(), replay=replay).call(stage, Write(), {})
    finally:
        scripted.write = real


def test_measurements_are_appended_and_the_newest_counts_whatever_is_pruned(store: Store) -> None:
    made_ = [observed(store, text) for text in ("one", "two", "three")]
    assert kept(store) == {artifact.digest for artifact in made_}
    prune(store, max_bytes=10**9)  # what a build does at its end
    assert kept(store) == {artifact.digest for artifact in made_}
    os.utime(made_[2].path, (0, 0))
    prune(store, max_bytes=8)  # the newest goes
    newest = observed(store, "four")
    stage = replace(WRITE, nature="observation")
    assert Builder(store, Silent()).call(stage, Write(), {}) == newest


def test_unsound_objects_are_found(store: Store) -> None:
    good, bad = made(store, "a"), made(store, "b")
    bad.file("text.txt").write_text("B")
    assert [entry.digest for entry in unsound(store)] == [bad.digest]
    assert good.digest in kept(store)


def test_a_record_of_a_newer_edgekd_is_no_record_and_in_nobodys_way(store: Store) -> None:
    made(store, "a")
    (path,) = (store.root / "runs" / "write").glob("*/*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    assert list(store.records("write")) == []
    made(store, "a")
    assert len(list(store.records("write"))) == 1


@pytest.mark.parametrize("text", ["lots", "-1", "0"])
def test_a_size_cap_that_is_no_size_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekd.engine.workspace import size_cap_bytes
    from edgekd.errors import ConfigError

    monkeypatch.setenv("EDGEKD_CACHE_MAX_GIB", text)
    with pytest.raises(ConfigError, match=f"EDGEKD_CACHE_MAX_GIB: '{text}' is no size in GiB"):
        size_cap_bytes()
