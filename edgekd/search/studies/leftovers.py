"""Trials that nobody will tell go back into the study's queue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from edgekd.search.spaces import Space
from edgekd.search.studies.owners import is_gone
from edgekd.search.studies.told import ASKED, SHAPE, completed, key_of, params_of, shape_key, varied


def left_by_others(study: Study, abandoned_after_h: float, *, alone: bool) -> list[FrozenTrial]:
    """
    Of processes that are gone. To be called while nobody on this machine asks.

    One without an owner is of a process that went while it asked: certainly where the database is this machine's
    (`alone`), else after `abandoned_after_h`.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if _is_lost(trial, abandoned_after_h, alone=alone)]


def give_back(study: Study, lost: Sequence[FrozenTrial], space: Space) -> None:
    """
    Each is failed, and its point, where it had one, is drawn next by whoever asks: a shape once.

    First into the queue and then failed, so that who is killed in between loses none.
    """
    numbers, axes = {trial.number for trial in lost}, space.axes()
    others = [trial for trial in study.get_trials(deepcopy=False) if trial.number not in numbers]
    cared_for = {key_of(trial) for trial in others if trial.state != TrialState.FAIL}
    for trial in lost:
        params = params_of(trial)
        if params.keys() == varied(axes).keys():
            key = shape_key(space.shape(completed(params, axes)))
            if key not in cared_for:
                study.enqueue_trial(params, user_attrs={SHAPE: key})
                cared_for.add(key)
        study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def _is_lost(trial: FrozenTrial, abandoned_after_h: float, *, alone: bool) -> bool:
    if ASKED in trial.user_attrs:
        return is_gone(trial.user_attrs[ASKED], abandoned_after_h)
    begun = trial.datetime_start
    return alone or begun is None or datetime.now(begun.tzinfo) - begun > timedelta(hours=abandoned_after_h)
