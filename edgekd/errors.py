"""
Everything edgekd raises on purpose, and the exit code that each becomes.

* EdgekdError            1   an internal error: edgekd broke its own contract
  - ConfigError          2   a pipeline, profile, setting or option says something we cannot act on
    - DivergedError      2   a training whose loss is no number any more
  - DataError            2   the data is not what the pipeline says
  - BudgetError          4   no candidate can meet the budget of latency or size
  - InconclusiveError    5   this many samples or runs cannot decide
  - UnavailableError     6   the target, a package or the environment is missing
    - UnsupportedError   6   a runtime or exporter lacks what this model is made of
    - DeviceLostError    6   a device stopped answering in the middle of its work
    - SomeTargetsFailed  6   of several targets; the others were built

A student that misses its budget is no error but a verdict; the command line ends with 3 (accuracy) or 4 then.
StoppedError is no EdgekdError: nothing went wrong, exit code 130.

A message names the thing, the value it had, and what to do next, in that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

INTERRUPTED = 130


class EdgekdError(Exception):
    exit_code = 1


class StoppedError(BaseException):
    """Ctrl-C or SIGTERM. Not a KeyboardInterrupt: command line libraries catch that one and say "Aborted"."""


class ConfigError(EdgekdError):
    exit_code = 2


class DivergedError(ConfigError):
    """A training whose loss or gradient is no number any more: its learning rate was too high."""


class DataError(EdgekdError):
    exit_code = 2


class BudgetError(EdgekdError):
    exit_code = 4


class InconclusiveError(EdgekdError):
    exit_code = 5


class UnavailableError(EdgekdError):
    exit_code = 6


class UnsupportedError(UnavailableError):
    pass


class DeviceLostError(UnavailableError):
    """A device that answered before does so no longer: worth another try."""


class SomeTargetsFailedError(UnavailableError):
    """Of several targets some could not be built; `failed` says why by target, and the others' bundles are whole."""

    def __init__(self, failed: Mapping[str, EdgekdError], done: Sequence[Any]) -> None:
        super().__init__("; ".join(f"target {name}: {error}" for name, error in failed.items()))
        self.failed, self.done = dict(failed), list(done)


def first_line(error: BaseException) -> str:
    """What another library said, as much of it as fits into a sentence; its kind, where it said nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
