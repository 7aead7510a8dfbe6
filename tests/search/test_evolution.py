"""Evolution takes the best for a parent, changes one thing, and forgets the oldest; its first nets differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, create_trial

from edgekd.search.spaces import Axes
from edgekd.search.studies.evolution import best, mutated
from edgekd.search.studies.plans import StudyPlan
from edgekd.search.studies.samplers import sampler_of
from edgekd.search.studies.told import FOUND

AXES: Axes = {f"axis{number}": tuple(range(5)) for number in range(6)}
DRAWN: dict[str, BaseDistribution] = {name: CategoricalDistribution(choices) for name, choices in AXES.items()}
MAXIMISE = optuna.study.StudyDirection.MAXIMIZE


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def study_of(plan: StudyPlan, values: Sequence[float] = (), directions: Sequence[str] = ("maximize",)) -> optuna.Study:
    """A study in which trials with these values were told already, at points of their own."""
    study = optuna.create_study(directions=list(directions), sampler=sampler_of("evolution", plan, AXES))
    for number, value in enumerate(values):
        study.add_trial(told(value, number))
    return study


def told(value: float, number: int, *constraints: float) -> FrozenTrial:
    point = np.random.default_rng(number).integers(0, 5, len(AXES)).tolist()
    return create_trial(
        params=dict(zip(AXES, point, strict=True)), distributions=dict(DRAWN), value=value,
        user_attrs={FOUND: {"constraints": list(constraints)}},
    )  # fmt: skip


def changed(one: FrozenTrial | optuna.Trial, other: FrozenTrial) -> int:
    return sum(one.params[name] != other.params[name] for name in AXES)


def test_the_best_of_a_tournament_is_the_parent_and_not_the_worst() -> None:
    """The official search of DisWOT sorted the sample the wrong way and took one of its worst."""
    plan = StudyPlan(sampler="evolution", population=8, tournament=8)
    study = study_of(plan, [3, 9, 1, 4, 8, 2, 7, 5])
    first = study.trials
    children = [study.ask(DRAWN) for _ in range(60)]
    by_parent = [[parent.number for parent in first if changed(child, parent) == 1] for child in children]
    assert all(len(parents) == 1 for parents in by_parent)
    assert by_parent.count([1]) > 30  # eight draws with replacement miss it with a chance of 0.34
    assert [2] not in by_parent


def test_the_best_keeps_its_constraints_first() -> None:
    trials = [told(9, 0, 0.5, -1.0), told(5, 1, 0.0, -1.0), told(2, 2, -1.0, -1.0), told(99, 3, 0.1, 0.1)]
    assert best(trials, MAXIMISE) is trials[1]
    assert best([trials[0], trials[3]], MAXIMISE) is trials[3]  # breaks them by less
    assert best(trials[1:3], optuna.study.StudyDirection.MINIMIZE) is trials[2]


def test_the_first_population_differs() -> None:
    """In the official one a flag made it 36 times the same net."""
    study = study_of(StudyPlan(sampler="evolution", population=36, tournament=8))
    drawn = {tuple(sorted(study.ask(DRAWN).params.items())) for _ in range(36)}
    assert len(drawn) == 36


def test_the_oldest_dies_however_good_it_was() -> None:
    plan = StudyPlan(sampler="evolution", population=4, tournament=4)
    study = study_of(plan, [100, 1, 2, 3, 4])
    assert all(changed(study.ask(DRAWN), study.trials[0]) > 1 for _ in range(20))


def test_one_axis_changes_and_always() -> None:
    generator = np.random.default_rng(0)
    axes: Axes = {**AXES, "only": ("one",)}
    point = {name: choices[0] for name, choices in axes.items()}
    names = set()
    for _ in range(200):
        (name,) = [name for name, choice in mutated(point, axes, generator).items() if choice != point[name]]
        names.add(name)
    assert names == set(AXES)
    assert mutated({"only": "one"}, {"only": ("one",)}, generator) == {"only": "one"}


def peaks(trial: optuna.Trial) -> float:
    """Two axes at a time count, so that no axis alone says where the best is: 6 at the top, of 15,625 points."""
    one = [int(trial.params[name]) for name in AXES]
    return sum(1 / (1 + abs(one[at] - 3) + 2 * abs(one[at] - one[at - 1])) for at in range(len(one)))


def test_it_finds_better_than_random_draws_at_equal_trials() -> None:
    plan = StudyPlan(population=20, tournament=6)
    reached = {"evolution": [], "random": []}  # type: dict[str, list[float]]
    for seed in range(3):
        for name, values in reached.items():
            sampler = sampler_of(name, plan.model_copy(update={"seed": seed}), AXES)  # type: ignore[arg-type]
            study = optuna.create_study(direction="maximize", sampler=sampler)
            for _ in range(120):
                trial = study.ask(DRAWN)
                study.tell(trial, peaks(trial))
            values.append(study.best_value)
    assert all(evolved >= random for evolved, random in zip(*reached.values(), strict=True))
    assert np.mean(reached["evolution"]) > np.mean(reached["random"]) + 1
