"""Looks at val in the course of a training: true labels alone decide when it stops, never the distillation loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Right = Callable[[], tuple[int, int]]  # of the net as it is: how many val samples it has right, of how many
FALLEN = 2.0  # standard errors below the best look


class Look(NamedTuple):
    epoch: int  # whole ones, then
    loss: float  # the mean of those since the look before
    right: int
    n: int

    @property
    def share(self) -> float:
        return self.right / self.n


@dataclass
class Watch:
    """
    All looks so far. `alarm` is the sentence of a student that comes nearer its teacher and farther from the truth.

    Tiapkin et al., "On teacher hacking in language model distillation" (2025), [25]: on a fixed set of targets what is
    minimised can fall while the true objective gets worse.
    """

    patience: int
    looks: list[Look] = field(default_factory=list)
    alarm: str | None = None
    kept: int | None = None  # after which epoch val was looked at with the weights that are kept; None: never

    def add(self, look: Look) -> None:
        best = self.best
        before = self.looks[-1] if self.looks else None
        self.looks.append(look)
        self.kept = look.epoch
        if self.alarm or best is None or before is None:
            return
        if fallen(best, before) and fallen(best, look) and look.loss < best.loss:
            self.alarm = (
                f"the loss fell from {best.loss:.4g} to {look.loss:.4g} after epoch {best.epoch} while val fell from "
                f"{100 * best.share:.1f} % to {100 * look.share:.1f} %: the student learns its teacher's mistakes; "
                "more views, fewer epochs or patience help"
            )

    @property
    def best(self) -> Look | None:
        """The earliest of those with the most right."""
        return max(self.looks, key=lambda look: (look.share, -look.epoch), default=None)

    @property
    def enough(self) -> bool:
        best = self.best
        if not self.patience or best is None:
            return False
        return sum(look.epoch > best.epoch for look in self.looks) >= self.patience

    def told(self) -> dict[str, Any]:
        return {"looks": [look._asdict() for look in self.looks], "alarm": self.alarm, "kept": self.kept}

    @classmethod
    def of(cls, patience: int, told: dict[str, Any]) -> Watch:
        return cls(patience, [Look(**row) for row in told.get("looks", ())], told.get("alarm"), told.get("kept"))


def fallen(best: Look, now: Look) -> bool:
    """By more than chance: the two are taken for independent, which asks for more than a paired test would."""
    variance = sum(look.share * (1 - look.share) / look.n for look in (best, now))
    return best.share - now.share > FALLEN * math.sqrt(variance)


def due(epoch: int, epochs: int, looks: int) -> bool:
    """Whether val is looked at after so many whole epochs: `looks` times, the last one at the end."""
    return looks > 0 and epoch * looks // epochs > (epoch - 1) * looks // epochs
