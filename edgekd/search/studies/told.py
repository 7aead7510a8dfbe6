"""What a trial of a study says, in Optuna's words and in ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isnan
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from optuna.trial import Trial as Asked

from edgekd.engine.digest import digest_of
from edgekd.errors import EdgekdError
from edgekd.models.shape import NetShape
from edgekd.search.spaces import Axes, Choice, Point, Space
from edgekd.search.studies.pareto import feasible
from edgekd.search.studies.plans import Objective

SHAPE, ASKED, FOUND, SAME_AS = "shape", "asked", "found", "same_as"  # attributes: few, each costs as much as an axis


@dataclass(frozen=True)
class Evaluated:
    """
    What is known of one shape. A constraint is kept at 0 and below; all shapes of a study have as many.

    `values` are one an objective, or None where the shape broke a constraint before it was measured. `told` is
    kept with it: whatever JSON takes.
    """

    values: tuple[float, ...] | None
    constraints: tuple[float, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """A shape that was evaluated; `number` is the study's own, of the first point that had this shape."""

    number: int
    point: Point
    shape: NetShape
    found: Evaluated

    @property
    def feasible(self) -> bool:
        return self.found.values is not None and feasible(self.found.constraints)


def shape_key(shape: NetShape) -> str:
    return digest_of(shape.model_dump(mode="json"))


def varied(axes: Axes) -> Axes:
    """Those with a choice: the others are no parameters of a trial, each of which costs the database some 5 ms."""
    return {name: choices for name, choices in axes.items() if len(choices) > 1}


def completed(params: Point, axes: Axes) -> Point:
    return {name: choices[0] for name, choices in axes.items() if len(choices) == 1} | dict(params)


def params_of(trial: FrozenTrial) -> dict[str, Choice]:
    """What was drawn for it, or is to be: of a trial that waits, Optuna keeps it beside the parameters."""
    return {**trial.params, **trial.system_attrs.get("fixed_params", {})}


def key_of(trial: FrozenTrial) -> str | None:
    """Of its shape: it has it since it was asked for, or since it was put into the queue."""
    key: str | None = trial.user_attrs.get(ASKED, trial.user_attrs).get(SHAPE)
    return key


def constraints_of(trial: FrozenTrial) -> tuple[float, ...]:
    return tuple(trial.user_attrs.get(FOUND, {}).get("constraints", ()))


def evaluated_of(trial: FrozenTrial) -> Evaluated:
    found = trial.user_attrs[FOUND]
    return Evaluated(tuple(trial.values) if found["measured"] else None, tuple(found["constraints"]), found["told"])


def first_of_each_shape(trials: Iterable[FrozenTrial]) -> dict[str, FrozenTrial]:
    """Of the trials that were told, by shape."""
    first: dict[str, FrozenTrial] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE and (key := key_of(trial)):
            first.setdefault(key, trial)
    return first


def read(trials: Iterable[FrozenTrial], space: Space) -> list[Trial]:
    """Each different shape once, in the order of their numbers."""
    axes = space.axes()
    found = first_of_each_shape(trials).values()
    told = [(trial, completed(trial.params, axes)) for trial in found]
    return [Trial(trial.number, point, space.shape(point), evaluated_of(trial)) for trial, point in told]


def tell(asked: Asked, found: Evaluated, objectives: Sequence[Objective]) -> None:
    """
    Writes what was found of a trial.

    One that was not measured is told as complete, with the worst there is of every objective, and not as pruned: of
    pruned trials NSGA-II learns nothing, while by how much complete ones break constraints leads it to where they
    are kept. Its values are compared with nothing.
    """
    worst = [-inf if objective.direction == "maximise" else inf for objective in objectives]
    said = {"measured": found.values is not None, "constraints": list(found.constraints), "told": dict(found.told)}
    asked.set_user_attr(FOUND, said)
    asked.study.tell(asked, list(found.values or worst), skip_if_finished=True)


def check(found: Sequence[Evaluated], shapes: int, objectives: Sequence[Objective]) -> None:
    """Raises EdgekdError where what `evaluate` gave cannot be told."""
    if len(found) != shapes:
        raise EdgekdError(f"search: evaluate was given {shapes} shapes and gave {len(found)} results; one a shape")
    for each in found:
        names = ", ".join(objective.name for objective in objectives)
        if each.values is not None and (len(each.values) != len(objectives) or any(map(isnan, each.values))):
            raise EdgekdError(f"search: evaluate gave the values {each.values} for {names}; a number for each")
        if any(map(isnan, each.constraints)) or len(each.constraints) != len(found[0].constraints):
            raise EdgekdError(
                f"search: evaluate gave the constraints {each.constraints}; as many numbers for each shape"
            )
        if each.values is None and feasible(each.constraints):
            raise EdgekdError(f"search: evaluate measured nothing of a shape with constraints {each.constraints}, kept")
