"""A study finds what there is, measures nothing in vain or twice, and survives kills, company and a change of mind."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from edgekd.engine.events import Silent
from edgekd.errors import ConfigError
from edgekd.models.shape import NetShape, parameters
from edgekd.search.space import every, points
from edgekd.search.studies.owners import is_gone, this_process
from edgekd.search.studies.pareto import front
from edgekd.search.studies.plans import StudyPlan
from edgekd.search.studies.told import Evaluated

sys.path.insert(0, str(Path(__file__).parent))
import explored
from explored import OBJECTIVES, SMALL, WIDE, evaluate, search, values_of

DIRECTIONS = [objective.direction for objective in OBJECTIVES]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with tables and nothing in them: to make one takes a second."""
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    optuna.storages.RDBStorage(f"sqlite:///{path}").engine.dispose()
    return path


@pytest.fixture(autouse=True)
def _has_tables(tmp_path: Path, empty: Path) -> None:
    shutil.copy(empty, tmp_path / "small.db")


class Counting:
    """Evaluates, and knows what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[NetShape]] = []

    def __call__(self, shapes: Sequence[NetShape]) -> list[Evaluated]:
        self.batches.append(list(shapes))
        return evaluate(shapes)

    @property
    def shapes(self) -> list[NetShape]:
        return [shape for batch in self.batches for shape in batch]


class Ear(Silent):
    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.steps: list[tuple[int, int]] = []

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def progressed(self, done: int, total: int, unit: str, **facts: float) -> None:
        self.steps.append((done, total))


def stored(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="small", storage=f"sqlite:///{folder / 'small.db'}")


def test_all_of_a_small_space_is_evaluated_once_and_its_front_is_the_whole_one(tmp_path: Path) -> None:
    count, ear = Counting(), Ear()
    found = search(tmp_path, do=count, listener=ear, batch=5)
    shapes = list(every(SMALL))
    assert len(shapes) < points(SMALL)  # some points have the same shape
    assert count.shapes == shapes
    assert {len(batch) for batch in count.batches[:-1]} == {5}
    assert [trial.shape for trial in found] == shapes
    assert ear.steps[-1] == (len(shapes), len(shapes))
    values = [values_of(shape) for shape in shapes]
    assert front([trial.found.values or () for trial in found], DIRECTIONS) == front(values, DIRECTIONS)
    assert found[0].found.told == {"macs": explored.macs(found[0].shape)}
    again = Counting()
    assert search(tmp_path, do=again) == found
    assert not again.batches


@pytest.mark.slow
def test_what_breaks_a_bound_is_not_measured_and_stays_out(tmp_path: Path) -> None:
    measured: list[NetShape] = []

    def bounded(shapes: Sequence[NetShape]) -> list[Evaluated]:
        over = [parameters(shape) / 60_000 - 1 for shape in shapes]
        measured.extend(shape for shape, by in zip(shapes, over, strict=True) if by <= 0)
        return [Evaluated(values_of(s) if by <= 0 else None, (by,)) for s, by in zip(shapes, over, strict=True)]

    found = search(tmp_path, WIDE, bounded, sampler="nsga2", trials=30, population=8, tournament=2, batch=10)
    assert [trial.shape for trial in found if trial.feasible] == measured
    assert all(parameters(shape) <= 60_000 for shape in measured)
    assert 0 < len(measured) < len(found) == 30
    broken = next(trial for trial in found if not trial.feasible)
    assert broken.found.values is None
    assert broken.found.constraints[0] > 0
    assert stored(tmp_path).trials[broken.number].values == [float("-inf"), float("inf")]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "nsga2", "tpe", "evolution"])
def test_the_same_seed_draws_the_same_and_a_study_that_goes_on_draws_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    plan: dict[str, Any] = {
        "sampler": sampler,
        "batch": 4,
        "population": 6,
        "tournament": 3,
        "storage": "sqlite:///$WHERE",
    }
    drawn = []
    for folder in ("one", "two"):
        monkeypatch.setenv("WHERE", str(tmp_path / f"{folder}.db"))
        count = Counting()
        search(tmp_path / folder, WIDE, count, trials=12, **plan)
        drawn.append(count.shapes)
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 12
    more = Counting()
    search(tmp_path / "two", WIDE, more, trials=18, **plan)
    assert len(more.shapes) == 6
    assert not set(more.shapes) & set(drawn[0])


@pytest.mark.slow
def test_an_exception_gives_its_batch_back(tmp_path: Path) -> None:
    count = Counting()

    def fails(shapes: Sequence[NetShape]) -> list[Evaluated]:
        if len(count.batches) == 2:
            raise KeyboardInterrupt
        return count(shapes)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, WIDE, fails, sampler="random", trials=8, batch=3)
    waiting = [t for t in stored(tmp_path).trials if t.state == TrialState.WAITING]
    assert len(waiting) == 2
    search(tmp_path, WIDE, count, sampler="random", trials=8, batch=3)
    assert len(count.shapes) == len(set(count.shapes)) == 8
    assert Counter(t.state for t in stored(tmp_path).trials)[TrialState.RUNNING] == 0


def begun(folder: Path, sampler: str, trials: int, pause_s: float, *storage: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, explored.__file__, str(folder), sampler, str(trials), str(pause_s), *storage]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})


def log(folder: Path) -> list[str]:
    path = folder / "log"
    return path.read_text().splitlines() if path.exists() else []


def wait_for(condition: Any) -> None:
    end = time.perf_counter() + 60
    while not condition():
        assert time.perf_counter() < end
        time.sleep(0.02)


@pytest.mark.parametrize("sampler", ["exhaustive", pytest.param("nsga2", marks=pytest.mark.slow)])
def test_a_study_that_was_killed_in_a_batch_goes_on_and_loses_nothing(tmp_path: Path, sampler: str) -> None:
    """Evaluated twice is the batch that nobody told, and nothing else."""
    child = begun(tmp_path, sampler, 10, 0.2)
    wait_for(lambda: len(log(tmp_path)) >= 8)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    first = [line.split(" ", 1)[1] for line in log(tmp_path)]
    told = [t for t in stored(tmp_path).trials if t.state == TrialState.COMPLETE]
    assert len(told) < len(first)
    count, ear = Counting(), Ear()
    found = search(tmp_path, explored.SPACES[sampler], count, ear, sampler=sampler, trials=12, batch=4)
    second = [shape.model_dump_json() for shape in count.shapes]
    lost = first[len(told) :]
    assert second[: len(lost)] == lost
    assert not set(second) & set(first[: len(told)])
    assert len(second) == len(set(second))
    assert {trial.shape.model_dump_json() for trial in found} == set(first) | set(second)
    assert len(found) == (12 if sampler == "nsga2" else len(list(every(SMALL))))
    assert ear.sentences == [f"search: {len(lost)} trials of a process that is gone are asked for again"]


@pytest.mark.slow
def test_two_processes_share_one_study(tmp_path: Path) -> None:
    both = [begun(tmp_path, "evolution", 24, 0.1) for _ in range(2)]
    assert [child.wait(timeout=120) for child in both] == [0, 0]
    lines = [line.split(" ", 1) for line in log(tmp_path)]
    assert len(lines) == len({shape for _, shape in lines}) == 24
    assert len({pid for pid, _ in lines}) == 2
    trials = stored(tmp_path).trials
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert not [trial for trial in trials if trial.state == TrialState.RUNNING]
    count = Counting()
    assert len(search(tmp_path, WIDE, count, sampler="evolution", trials=24, batch=4)) == 24
    assert not count.batches


@pytest.mark.slow
def test_two_workspaces_share_a_study_by_its_file(tmp_path: Path) -> None:
    """Which neither of them has made: one makes it, and no shape is evaluated twice."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    both = [begun(folder, "evolution", 24, 0.1, storage) for folder in folders]
    assert [child.wait(timeout=120) for child in both] == [0, 0]
    lines = [line.split(" ", 1) for folder in folders for line in log(folder)]
    assert len(lines) == len({shape for _, shape in lines}) == 24
    assert len({pid for pid, _ in lines}) == 2


def test_a_trial_of_a_living_process_or_of_another_machine_is_left_alone() -> None:
    mine = this_process()
    assert not is_gone(mine, 24)
    assert is_gone(mine | {"pid": 2**22 + 1}, 24)
    assert is_gone(mine | {"started": "another/1"}, 24)  # the id came again
    away = mine | {"host": "another", "pid": 1}
    assert not is_gone(away, 24)
    assert is_gone(away | {"asked": "2024-01-01T00:00:00+00:00"}, 24)
    child = subprocess.Popen([sys.executable, "-c", ""])
    wait_for(lambda: is_gone(mine | {"pid": child.pid}, 24))
    child.wait()


def test_a_study_goes_on_only_with_what_it_was_begun_with(tmp_path: Path) -> None:
    search(tmp_path, about={"budget": {"size_mib": 1.0}})
    refused = (
        r"study 'small' in sqlite:.*small\.db: {}; give what it was begun with, or take another search.study.storage"
    )
    with pytest.raises(ConfigError, match=refused.format("its budget was [0-9a-f]{12}, now it is not given; its .*")):
        search(tmp_path, WIDE)
    count = Counting()
    search(tmp_path, do=count, fresh=True)
    assert len(count.shapes) == len(list(every(SMALL)))


def test_too_large_a_space_is_not_looked_at_as_a_whole(tmp_path: Path) -> None:
    space = WIDE.model_copy(update={"stages": (2, 3, 4)})
    with pytest.raises(ConfigError, match=r"exhaustive: the space has [\d,]+ points, more than 5,000; take nsga2"):
        search(tmp_path, space, sampler="exhaustive")
    assert StudyPlan().sampler_for(points(space)) == "nsga2"
    assert StudyPlan(trials=5_000).sampler_for(5_000) == "exhaustive"


@pytest.mark.slow
def test_a_space_without_more_shapes_ends_the_search(tmp_path: Path) -> None:
    few = SMALL.model_copy(update={"blocks": (1,)})
    found = search(tmp_path, few, sampler="random", trials=50)
    assert len(found) == len(list(every(few)))


def test_settings_and_help_leave_optuna_alone() -> None:
    code = (
        "import sys, edgekd, edgekd.cli.app, edgekd.search.studies.plans, edgekd.search.studies.pareto; "
        "print([name for name in ('optuna', 'sqlalchemy', 'torch') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def forked(folder: Path) -> int:
    pid = os.fork()
    if not pid:
        try:
            search(folder, SMALL, lambda shapes: explored.logged(folder, 0.02, shapes), batch=4)
        finally:
            os._exit(0)
    return pid


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_random_moments_alone_or_in_company_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    """From the moment that the file is made. A kill costs at most a batch."""
    (tmp_path / "small.db").unlink()
    moments, killed = random.Random(seed), 0
    ends: list[int] = [signal.SIGKILL]
    while all(ends):
        children = [forked(tmp_path) for _ in range(moments.choice([1, 2]))]
        time.sleep(moments.uniform(0, 4))
        for child in children:
            os.kill(child, signal.SIGKILL)
        ends = [os.WTERMSIG(os.waitpid(child, 0)[1]) for child in children]
        killed += sum(map(bool, ends))
    found = search(tmp_path)
    times = Counter(line.split(" ", 1)[1] for line in log(tmp_path))
    assert {trial.shape.model_dump_json() for trial in found} == set(times)
    assert len(times) == len(list(every(SMALL)))
    assert sum(times.values()) - len(times) <= 4 * killed
    assert {trial.state for trial in stored(tmp_path).trials} <= {TrialState.COMPLETE, TrialState.FAIL}
