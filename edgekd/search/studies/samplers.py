"""The samplers of a study, each of whose draws depends on the seed, the trial's number, and what was told before."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from edgekd.search.spaces import Axes
from edgekd.search.studies.evolution import AgingEvolution
from edgekd.search.studies.plans import SamplerName, StudyPlan
from edgekd.search.studies.told import constraints_of

Make = Callable[[int], BaseSampler]


class Numbered(BaseSampler):
    """
    A sampler that is made anew for every trial, with a seed of its own from `seed` and the trial's number.

    Numbers are the database's: no two trials of a study have the same, so neither a study that is resumed nor a
    second process repeats draws, and nothing of a generator's state has to be kept.
    """

    def __init__(self, make: Make, seed: int) -> None:
        self._make, self._seed = make, seed
        self._now = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        (seed,) = np.random.SeedSequence((self._seed, trial.number)).generate_state(1)
        self._now = self._make(int(seed))
        self._now.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._now.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._now.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._now.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._now.after_trial(study, trial, state, values)


def sampler_of(name: SamplerName, plan: StudyPlan, axes: Axes) -> BaseSampler:
    """Exhaustive has no sampler of its own: all its points wait in the study's queue."""
    makes: dict[SamplerName, Make] = {
        "exhaustive": lambda seed: RandomSampler(seed=seed),
        "random": lambda seed: RandomSampler(seed=seed),
        "nsga2": lambda seed: _nsga2(plan, seed),
        "tpe": _tpe,
        "evolution": lambda seed: AgingEvolution(
            axes, population=plan.population, tournament=plan.tournament, seed=seed
        ),
    }
    return Numbered(makes[name], plan.seed)


def _nsga2(plan: StudyPlan, seed: int) -> BaseSampler:
    """Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002), constraints as in VI."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return NSGAIISampler(population_size=plan.population, seed=seed, constraints_func=constraints_of)


def _tpe(seed: int) -> BaseSampler:
    """Bergstra et al. (2011), for several objectives Ozaki et al. (2022); of a batch, the others count as bad."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(seed=seed, constraints_func=constraints_of, constant_liar=True)
