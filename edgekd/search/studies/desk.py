"""Where one process asks a study for shapes and tells what it found of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple
from uuid import uuid4

from filelock import FileLock
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from optuna.trial import Trial as Asked

from edgekd.engine.events import Progress
from edgekd.models.shape import NetShape
from edgekd.search.space import every_point
from edgekd.search.spaces import Space
from edgekd.search.studies.leftovers import give_back, left_by_others
from edgekd.search.studies.owners import this_process
from edgekd.search.studies.plans import Objective, StudyPlan
from edgekd.search.studies.told import (
    ASKED,
    SAME_AS,
    SHAPE,
    Evaluated,
    check,
    completed,
    evaluated_of,
    first_of_each_shape,
    key_of,
    shape_key,
    tell,
    varied,
)  # fmt: skip

Evaluate = Callable[[Sequence[NetShape]], Sequence[Evaluated]]
REPEATS = 50  # draws in a row that gave no new shape, after which none is expected


class Batched(NamedTuple):
    """A shape of a batch, and the trials that drew it."""

    shape: NetShape
    asked: list[Asked]


class Desk:
    """Asking is done by one process of a machine at a time, so that no two are given the same shape."""

    def __init__(
        self, study: Study, space: Space, objectives: Sequence[Objective], plan: StudyPlan, lock: FileLock,
        progress: Progress, *, every: bool,
    ) -> None:  # fmt: skip
        self._study, self._space, self._objectives, self._plan = study, space, objectives, plan
        self._lock, self._progress = lock, progress
        self._axes = space.axes()
        self._every = {shape_key(shape): point for point, shape in every_point(space)} if every else {}
        self._limit = len(self._every) or plan.trials
        self._run = uuid4().hex

    def work(self, evaluate: Evaluate) -> None:
        """Until there are as many different shapes as the plan says, or nothing new is drawn."""
        while batch := self._ask():
            found = evaluate([each.shape for each in batch])
            check(found, len(batch), self._objectives)
            for each, evaluated in zip(batch, found, strict=True):
                for asked in each.asked:
                    tell(asked, evaluated, self._objectives)
            told = first_of_each_shape(self._study.get_trials(deepcopy=False))
            self._progress.step(len(told), max(self._limit, len(told)), "candidate")

    def leave(self) -> None:
        """What this one asked for and did not tell is there for others, and for a later run."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        own = [trial for trial in running if trial.user_attrs.get(ASKED, {}).get("run") == self._run]
        give_back(self._study, own, self._space)

    def _ask(self) -> list[Batched]:
        with self._lock:
            self._take_back()
            trials = self._study.get_trials(deepcopy=False)
            told = first_of_each_shape(trials)
            running = [trial for trial in trials if trial.state == TrialState.RUNNING]
            under_way = {key: trial for trial in running if (key := key_of(trial))}
            wanted = min(self._plan.batch, self._limit - len(told.keys() | under_way.keys()))
            self._queue(trials, wanted)
            return self._draw(wanted, told, under_way)

    def _take_back(self) -> None:
        alone = (self._plan.storage or "sqlite").startswith("sqlite")
        lost = left_by_others(self._study, self._plan.abandoned_after_h, alone=alone)
        if lost:
            give_back(self._study, lost, self._space)
            self._progress.say(f"search: {len(lost)} trials of a process that is gone are asked for again")

    def _queue(self, trials: Sequence[FrozenTrial], wanted: int) -> None:
        """Of a space of which every point is looked at, the next ones: a long queue is slow to ask from."""
        waiting = sum(trial.state == TrialState.WAITING for trial in trials)
        known = {key_of(trial) for trial in trials if trial.state != TrialState.FAIL}
        left = ((key, point) for key, point in self._every.items() if key not in known)
        for key, point in islice(left, max(0, wanted - waiting)):
            params = {name: point[name] for name in varied(self._axes)}
            self._study.enqueue_trial(params, user_attrs={SHAPE: key})

    def _draw(
        self, wanted: int, told: Mapping[str, FrozenTrial], under_way: Mapping[str, FrozenTrial]
    ) -> list[Batched]:
        drawn: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(choices) for name, choices in varied(self._axes).items()
        }
        batch: dict[str, Batched] = {}
        repeats = 0
        while len(batch) < wanted and repeats < REPEATS:
            asked = self._study.ask(drawn)
            shape = self._space.shape(completed(asked.params, self._axes))
            key = shape_key(shape)
            asked.set_user_attr(ASKED, this_process() | {"run": self._run, SHAPE: key})
            repeats = repeats + 1 if key in told or key in under_way or key in batch else 0
            if key in told:
                asked.set_user_attr(SAME_AS, told[key].number)
                tell(asked, evaluated_of(told[key]), self._objectives)
            elif key in under_way:  # another process tells it
                asked.set_user_attr(SAME_AS, under_way[key].number)
                self._study.tell(asked, state=TrialState.FAIL)
            else:
                batch.setdefault(key, Batched(shape, [])).asked.append(asked)
        return list(batch.values())
