"""What a build tells whoever watches it: the terminal, a log, a test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol, TypeVar

T = TypeVar("T")
Outcome = Literal["ran", "cached", "replayed"]


class Listener(Protocol):
    def started(self, stage: str, at: str) -> None: ...

    def running(self, stage: str, at: str) -> None:
        """It was not there: from here on it takes time."""

    def progressed(self, done: int, total: int, unit: str, **facts: float) -> None: ...

    def finished(self, stage: str, at: str, outcome: Outcome, seconds: float) -> None: ...

    def said(self, sentence: str) -> None: ...


class Silent:
    """A listener for scripts and tests that do not care."""

    def started(self, stage: str, at: str) -> None:
        pass

    def running(self, stage: str, at: str) -> None:
        pass

    def progressed(self, done: int, total: int, unit: str, **facts: float) -> None:
        pass

    def finished(self, stage: str, at: str, outcome: Outcome, seconds: float) -> None:
        pass

    def said(self, sentence: str) -> None:
        pass


class Telling(Silent):
    """Hands on what is said, and nothing else."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def said(self, sentence: str) -> None:
        self._tell(sentence)


class Progress:
    """A running stage's view of the listener."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.warned: list[str] = []  # kept with the result, and said again whenever it is taken from the store

    def step(self, done: int, total: int, unit: str, **facts: float) -> None:
        self._listener.progressed(done, total, unit, **facts)

    def over(self, items: Iterable[T], total: int, unit: str) -> Iterator[T]:
        for done, item in enumerate(items, 1):
            yield item
            self.step(done, total, unit)

    def say(self, sentence: str) -> None:
        self._listener.said(sentence)

    def warn(self, sentence: str) -> None:
        """What holds of the result, not of this run."""
        self.warned.append(sentence)
        self.say(sentence)
