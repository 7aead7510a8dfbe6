"""Regularised evolution as a sampler of Optuna's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from edgekd.search.spaces import Axes, Choice
from edgekd.search.studies.told import constraints_of, varied


class AgingEvolution(BaseSampler):
    """
    Real, Aggarwal, Huang and Le, "Regularized evolution for image classifier architecture search" (2019), algorithm 1:
    of a random sample of the population the best is the parent, its child differs in one axis, and the oldest dies.

    The population is the last `population` trials that were told, so it is there again when a study is resumed, and
    several processes share it. The best is that of the first objective; one that breaks constraints comes after all
    that keep them, by how much it breaks them. Departures: the paper's mutations are of cells, ours of an axis,
    always to another choice; children of one batch have parents of one population, for none of them was told yet.
    """

    def __init__(self, axes: Axes, *, population: int, tournament: int, seed: int) -> None:
        self._axes, self._population, self._tournament = axes, population, tournament
        self._generator = np.random.default_rng(seed)

    def infer_relative_search_space(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        return {name: CategoricalDistribution(choices) for name, choices in varied(self._axes).items()}

    def sample_relative(
        self,
        study: Study,
        trial: FrozenTrial,  # noqa: ARG002
        search_space: dict[str, BaseDistribution],  # noqa: ARG002
    ) -> dict[str, Any]:
        told = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(told) < self._population:
            return {}  # the first ones are drawn: each axis by sample_independent
        alive = told[-self._population :]
        sample = [alive[place] for place in self._generator.integers(len(alive), size=self._tournament)]
        return mutated(best(sample, study.directions[0]).params, self._axes, self._generator)

    def sample_independent(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        param_name: str,
        param_distribution: BaseDistribution,  # noqa: ARG002
    ) -> Choice:
        choices = self._axes[param_name]
        return choices[self._generator.integers(len(choices))]


def best(sample: Sequence[FrozenTrial], direction: StudyDirection) -> FrozenTrial:
    """By the first objective among those that keep their constraints, else the one that breaks them least."""
    sign = -1 if direction == StudyDirection.MAXIMIZE else 1

    def cost(trial: FrozenTrial) -> tuple[float, float]:
        return sum(max(value, 0.0) for value in constraints_of(trial)), sign * trial.values[0]

    return min(sample, key=cost)


def mutated(point: Mapping[str, Choice], axes: Axes, generator: np.random.Generator) -> dict[str, Choice]:
    """The point with another choice on one axis, each axis that has another one being as likely."""
    able = list(varied(axes))
    if not able:
        return dict(point)
    name = able[generator.integers(len(able))]
    others = [choice for choice in axes[name] if choice != point[name]]
    return {**point, name: others[generator.integers(len(others))]}
