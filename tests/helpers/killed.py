"""A run that is killed on the way."""

from __future__ import annotations

from edgekd.engine.events import Silent


class KilledError(Exception):
    pass


class Dying(Silent):
    """Raises where `at` steps are done."""

    def __init__(self, at: int) -> None:
        self.at = at

    def progressed(self, done: int, total: int, unit: str, **facts: float) -> None:
        if done == self.at:
            raise KilledError
