"""Settings of a study: how a space is gone through, for what, and where what was found is kept."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from edgekd.search.space import FEW
from edgekd.settings import Settings

SamplerName = Literal["exhaustive", "nsga2", "tpe", "evolution", "random"]
Direction = Literal["maximise", "minimise"]


class Objective(NamedTuple):
    """`name` has its unit: latency_p50_ms.rpi5, size_bytes."""

    name: str
    direction: Direction


class StudyPlan(Settings):
    """
    How a space is searched.

    A password stands in no settings: `$NAME` in `storage` is taken from the environment when the study is opened.
    """

    sampler: Literal["auto"] | SamplerName = "auto"  # auto: all points where they are no more than `trials`, else nsga2
    trials: int = Field(default=200, ge=1)  # different shapes, over all processes; exhaustive looks at every one
    batch: int = Field(default=16, ge=1)  # shapes that are evaluated together: one interleaved comparison
    seed: int = Field(default=0, ge=0)
    population: int = Field(default=40, ge=2)  # of nsga2 and evolution
    tournament: int = Field(default=10, ge=1)  # of evolution
    storage: str | None = None  # a URL as Optuna takes it; else a file of SQLite
    abandoned_after_h: float = Field(default=24, gt=0)  # a trial of another machine that was not told for so long

    @model_validator(mode="after")
    def _tournament_within_the_population(self) -> StudyPlan:
        if self.tournament > self.population:
            raise ValueError(f"tournament {self.tournament} is above population {self.population}; lower it")
        return self

    def sampler_for(self, points: int) -> SamplerName:
        if self.sampler == "auto":
            return "exhaustive" if points <= min(FEW, self.trials) else "nsga2"
        return self.sampler
