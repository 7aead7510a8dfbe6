"""Going through a space: shapes are asked for in batches, evaluated by the caller, and told to a study that is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from edgekd.engine.events import Progress
from edgekd.errors import ConfigError, UnavailableError
from edgekd.search.space import FEW, points
from edgekd.search.spaces import Space
from edgekd.search.studies.belonging import claim, identity
from edgekd.search.studies.desk import Desk, Evaluate
from edgekd.search.studies.plans import Objective, SamplerName, StudyPlan
from edgekd.search.studies.samplers import sampler_of
from edgekd.search.studies.storage import address, lock_path, opened, shown
from edgekd.search.studies.told import Trial, read


def explore(
    space: Space,
    evaluate: Evaluate,
    objectives: Sequence[Objective],
    plan: StudyPlan,
    *,
    folder: Path,
    name: str,
    progress: Progress,
    about: Mapping[str, Any] | None = None,
    fresh: bool = False,
) -> list[Trial]:
    """
    Every different shape that the study `name` knows, with what was found of it, in the order of their numbers.

    `evaluate` is given the shapes of one batch, all different and none of them evaluated before; a shape that breaks
    a constraint it returns without values and unmeasured. A point whose shape was evaluated, in this run, before a
    kill or by another process, is told the same again and counts no second time.

    * Kept: each result is in the database before the next batch is asked for. Where a process was killed, its batch
      is asked for again by the next one that asks, in this run or a later one; where `evaluate` raises, too.
    * Shared: processes that give the same `name`, and the same `folder` or database, work on one study. Asking is one
      at a time on a machine; `plan.trials` counts all of them, exceeded by a batch at most where machines share only a
      database. What others have under way at the end is not waited for.
    * Seeded: a draw depends on the seed, the number of the trial, and what was told before, so one process on a fresh
      study draws the same again, and a study that goes on or is shared repeats no draws of before.
    * `about` is what the results depend on beside the space and the objectives: budgets, data, targets, as JSON. A
      study that was begun with another space, objectives, sampler or `about` is refused; `fresh` begins it anew.

    Raises ConfigError and UnavailableError where the database can't be used or the study is another's.
    """
    url, sampler = address(plan.storage, folder, name), _sampler(space, plan)
    lock = _lock(lock_path(url, folder, name))
    with opened(url, lock) as storage:
        with lock:
            study = _begun(storage, name, objectives, fresh=fresh)
            claim(study, identity(space, objectives, plan, sampler, about or {}), shown(url))
        study.sampler = sampler_of(sampler, plan, space.axes())
        desk = Desk(study, space, objectives, plan, lock, progress, every=sampler == "exhaustive")
        try:
            desk.work(evaluate)
        except BaseException:
            with suppress(SQLAlchemyError, StorageInternalError), lock:
                desk.leave()
            raise
        return read(study.get_trials(deepcopy=False), space)


def _sampler(space: Space, plan: StudyPlan) -> SamplerName:
    sampler = plan.sampler_for(points(space))
    if sampler == "exhaustive" and points(space) > FEW:
        raise ConfigError(
            f"search.sampler: exhaustive: the space has {points(space):,} points, more than {FEW:,}; take nsga2"
        )
    return sampler


def _lock(path: Path) -> FileLock:
    lock, folder = FileLock(path), path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock:
            return lock
    except OSError as error:
        raise UnavailableError(
            f"search: {folder}: cannot be written to: {error.strerror}; make room, or name another folder"
        ) from None


def _begun(storage: RDBStorage, name: str, objectives: Sequence[Objective], *, fresh: bool) -> optuna.Study:
    if fresh:
        with suppress(KeyError):
            optuna.delete_study(study_name=name, storage=storage)
    directions = ["maximize" if objective.direction == "maximise" else "minimize" for objective in objectives]
    return optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
