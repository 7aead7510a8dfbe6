"""A study goes on only with what it was begun with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.study import Study

from edgekd.engine.digest import digest_of
from edgekd.errors import ConfigError
from edgekd.search.spaces import Space
from edgekd.search.studies.plans import Objective, SamplerName, StudyPlan
from edgekd.settings import Settings

BELONGS = "belongs"
USES: dict[SamplerName, tuple[str, ...]] = {
    "exhaustive": (), "random": ("seed",), "tpe": ("seed",), "nsga2": ("seed", "population"),
    "evolution": ("seed", "population", "tournament"),
}  # fmt: skip


def identity(
    space: Space, objectives: Sequence[Objective], plan: StudyPlan, sampler: SamplerName, about: Mapping[str, Any]
) -> dict[str, Any]:
    """All that trials depend on. How many there are, of a batch too, and where they are kept may change."""
    settings = space.model_dump(mode="json") if isinstance(space, Settings) else None
    return {
        "space": digest_of([settings, space.axes()]),
        "objectives": [f"{direction} {name}" for name, direction in objectives],
        "sampler": sampler,
        **{name: getattr(plan, name) for name in USES[sampler]},
        **{name: digest_of(value) for name, value in about.items()},
    }


def claim(study: Study, mine: Mapping[str, Any], where: str) -> None:
    """Raises ConfigError where the study is another's."""
    theirs = study.user_attrs.get(BELONGS)
    if theirs is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(BELONGS, dict(mine))
    elif theirs != mine:
        raise ConfigError(
            f"search: study {study.study_name!r} in {where}: {_difference(theirs or {}, mine)}; give what it was begun "
            "with, or take another search.study.storage"
        )


def _difference(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    if not theirs:
        return "was not made by edgekd"
    return "; ".join(
        f"its {name} was {_short(theirs.get(name))}, now it is {_short(mine.get(name))}"
        for name in sorted(theirs.keys() | mine.keys())
        if theirs.get(name) != mine.get(name)
    )


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return str(value)[:12] if value is not None else "not given"
