"""Whatever happens to a build: finished work survives, the next run goes on, and ends as an undisturbed one."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.store import Store
from edgekd.errors import UnavailableError

sys.path.insert(0, str(Path(__file__).parent))
import micro


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return micro.run(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.slow
def test_killed_at_every_seam_the_next_run_ends_the_same(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    """A seam is the moment before a file is opened for writing, made, renamed or removed."""
    seam = 0
    while True:
        seam += 1
        root = tmp_path / str(seam)
        if not micro.run_and_die_at(root, seam):
            break
        assert micro.run(root) == undisturbed, f"killed before write {seam}"
        shutil.rmtree(root)
    assert seam > 40  # the pipeline does write that often


@pytest.mark.slow
@pytest.mark.parametrize("moment", micro.moments(10, 0.6, seed=0))
def test_killed_at_a_random_moment_the_next_run_ends_the_same(
    tmp_path: Path, undisturbed: dict[str, str], moment: float
) -> None:
    micro.in_child(lambda: micro.run(tmp_path / "w"), kill_after_s=moment)
    assert micro.run(tmp_path / "w") == undisturbed


@pytest.mark.nightly
def test_killed_at_300_random_moments(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    died = 0
    for number, moment in enumerate(micro.moments(300, 0.6, seed=1)):
        root = tmp_path / str(number)
        died += os.WIFSIGNALED(micro.in_child(lambda root=root: micro.run(root), kill_after_s=moment))  # type: ignore[misc]
        assert micro.run(root) == undisturbed, f"killed after {moment:.4f} s"
        shutil.rmtree(root)
    assert died > 150


def test_a_killed_training_goes_on_from_its_last_epoch_and_not_from_its_first(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    root = tmp_path / "w"
    second = "*/scratch/snapshot-000002.*"
    micro.in_child(lambda: micro.run(root), kill_when=lambda: bool(list((root / "work").glob(second))))
    epochs = max(int(path.name.split("-")[1].split(".")[0]) for path in (root / "work").glob("*/scratch/snapshot-*"))
    assert 0 < epochs < micro.TRAINING.epochs
    ear = Ear()
    assert micro.run(root, Builder(Store(root), ear)) == undisturbed
    assert f"resumed after epoch {epochs} of {micro.TRAINING.epochs}" in ear.sentences


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def delete(path: Path) -> None:
    path.unlink()


def delete_the_object(path: Path) -> None:
    root = next(p for p in path.parents if p.parent.name == "objects")
    shutil.rmtree(root)


class Ear(Silent):
    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.ran: list[str] = []

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def finished(self, stage: str, at: str, outcome: str, seconds: float) -> None:
        if outcome == "ran":
            self.ran.append(stage)


@pytest.mark.parametrize("damage", [flip, truncate, delete, delete_the_object])
def test_every_stored_file_damaged_in_turn_is_found_named_and_made_again(
    tmp_path: Path, undisturbed: dict[str, str], damage: Callable[[Path], None]
) -> None:
    root = tmp_path / "w"
    micro.run(root)
    files = sorted(p.relative_to(root) for p in (root / "objects").rglob("*") if p.is_file())
    assert len(files) == 6
    for file in files:
        damage(root / file)
        ear = Ear()
        assert micro.run(root, Builder(Store(root), ear)) == undisturbed
        assert len(ear.ran) == 1, file  # made again: that one, and nothing else
        named = [s for s in ear.sentences if file.parts[1][:12] in s and s.startswith(f"{ear.ran[0]}: ")]
        assert len(named) == 1, (file, ear.sentences)


@pytest.mark.parametrize("damage", [flip, truncate, delete])
def test_a_damaged_record_is_a_run_that_never_was(
    tmp_path: Path, undisturbed: dict[str, str], damage: Callable[[Path], None]
) -> None:
    root = tmp_path / "w"
    micro.run(root)
    for path in sorted((root / "runs").rglob("*.json")):
        path.write_text("{") if damage is flip else damage(path)
        assert micro.run(root) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_on_one_workspace_end_well_twenty_times(
    tmp_path: Path, undisturbed: dict[str, str], processes: int
) -> None:
    for number in range(20):
        root = tmp_path / str(number)
        answers = [tmp_path / f"{number}-{n}.json" for n in range(processes)]
        children = []
        for answer in answers:
            child = os.fork()
            if child == 0:
                try:
                    answer.write_text(json.dumps(micro.run(root)))
                finally:
                    os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        assert [json.loads(answer.read_text()) for answer in answers] == [undisturbed] * processes
        for stage in ("data", "train", "pack"):
            records = list((root / "runs" / stage).glob("*/*.json"))
            assert len(records) == 1, f"{stage} ran {len(records)} times"


def test_the_lock_of_a_dead_process_holds_nobody_up(tmp_path: Path) -> None:
    def hold() -> None:
        with Store(tmp_path).lock("key"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert os.WIFSIGNALED(micro.in_child(hold))
    start = time.perf_counter()
    with Store(tmp_path).lock("key"):
        pass
    assert time.perf_counter() - start < 0.5


def test_who_waits_for_another_process_is_told(tmp_path: Path) -> None:
    ready = tmp_path / "ready"

    def hold() -> None:
        with Store(tmp_path).lock("key"):
            ready.touch()
            time.sleep(1.5)

    child = os.fork()
    if child == 0:
        hold()
        os._exit(0)
    while not ready.exists():
        time.sleep(0.01)
    told = []
    with Store(tmp_path).lock("key", waiting=lambda: told.append("waiting")):
        pass
    os.waitpid(child, 0)
    assert told == ["waiting"]


def code_and_words(work: Callable[[], object], words: Path) -> tuple[int, str]:
    """How a child that does `work` ends, and what its error says."""

    def told() -> None:
        try:
            work()
        except UnavailableError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            words.write_text(str(error))
            os._exit(error.exit_code)

    words.write_text("")
    return os.waitstatus_to_exitcode(micro.in_child(told)), words.read_text()


@pytest.mark.nightly
def test_a_disk_that_fills_at_any_write_is_named_and_nothing_half_written_is_ever_read(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    said = 0
    for seam in range(1, 200):
        root = tmp_path / str(seam)

        def work(root: Path = root, seam: int = seam) -> None:
            def full(n: int) -> None:
                if n == seam:
                    raise OSError(errno.ENOSPC, "No space left on device")

            micro.seams(root, full)
            micro.run(root)

        code, words = code_and_words(work, tmp_path / "words")
        assert code in (0, 6), f"write {seam} failed and the build ended with {code}"
        if code == 6:
            said += 1
            assert "No space left on device" in words
            assert "--workspace" in words
        assert micro.run(root) == undisturbed, f"after a full disk at write {seam}"
        shutil.rmtree(root)
        if code == 0 and seam > said + 40:
            break
    assert said > 25


@pytest.mark.parametrize("limit", [200, 1000, 3000, 5000])
def test_a_write_that_the_system_itself_cuts_short_is_named(
    tmp_path: Path, undisturbed: dict[str, str], limit: int
) -> None:
    """A limit on file sizes fails every writer alike, the one in safetensors' compiled code too."""
    root = tmp_path / "w"

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        micro.run(root)

    code, words = code_and_words(work, tmp_path / "words")
    assert code == 6
    assert "File too large" in words
    assert micro.run(root) == undisturbed


@pytest.mark.parametrize("seam", [1, 2, 9])
def test_a_workspace_that_is_read_only_or_becomes_it_is_named(tmp_path: Path, seam: int) -> None:
    root = tmp_path / "w"

    def work() -> None:
        def read_only(n: int) -> None:
            if n >= seam:
                raise OSError(errno.EROFS, "Read-only file system")

        micro.seams(root, read_only)
        micro.run(root)

    code, words = code_and_words(work, tmp_path / "words")
    assert code == 6
    assert "Read-only file system" in words
    assert "--workspace" in words


def test_a_workspace_that_vanishes_is_named(tmp_path: Path) -> None:
    root = tmp_path / "w"

    def work() -> None:
        micro.seams(root, lambda n: shutil.rmtree(root, ignore_errors=True) if n == 12 else None)
        micro.run(root)

    code, words = code_and_words(work, tmp_path / "words")
    assert code == 6
    assert str(root) in words


def test_a_workspace_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=r"cannot use the workspace .*file: .*--workspace"):
        micro.run(tmp_path / "file")


@pytest.mark.parametrize(
    "fault", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
              OSError(errno.ENOMEM, "Cannot allocate memory")],
)  # fmt: skip
def test_memory_that_runs_out_names_the_setting_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def eat(*_: object) -> None:
        raise fault

    monkeypatch.setattr(micro, "train", eat)
    says = r"train: out of memory; lower train\.batch; finished stages are kept"
    with pytest.raises(UnavailableError, match=says) as raised:
        micro.run(tmp_path)
    assert raised.value.exit_code == 6


@pytest.mark.parametrize(("signals", "number"), [(1, signal.SIGINT), (1, signal.SIGTERM), (2, signal.SIGINT)])
def test_a_stopped_build_says_so_and_goes_on_later(tmp_path: Path, signals: int, number: signal.Signals) -> None:
    """The real command line, stopped in the middle of a stage."""
    where = ["--workspace", str(tmp_path), "--out", str(tmp_path / "o")]
    command = [sys.executable, "-m", "edgekd", "build", "digits", *where]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        deadline = time.perf_counter() + 60
        while not list(tmp_path.glob("work/*/out")) and time.perf_counter() < deadline:
            time.sleep(0.02)
        for _ in range(signals):
            process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    if signals == 1:
        assert "interrupted; finished stages are kept, the same command goes on from there" in said
    assert not (tmp_path / "o").exists()
