"""
Everything edgekd raises on purpose, and the exit code that each becomes.

* EdgekdError            1   an internal error: edgekd broke its own contract
  - ConfigError          2   a pipeline, profile, setting or option says something we cannot act on
  - DataError            2   the data is not what the pipeline says
  - AccuracyBudgetError  3   the student loses more accuracy than the budget allows
  - BudgetError          4   latency, size or memory over budget, or no candidate can meet it
  - InconclusiveError    5   this many samples or runs cannot decide
  - UnavailableError     6   the target, a package or the environment is missing

StoppedError is no EdgekdError: nothing went wrong, exit code 130.

A message names the thing, the value it had, and what to do next, in that order.
"""

from __future__ import annotations

INTERRUPTED = 130


class EdgekdError(Exception):
    exit_code = 1


class StoppedError(BaseException):
    """Ctrl-C or SIGTERM. Not a KeyboardInterrupt: command line libraries catch that one and say "Aborted"."""


class ConfigError(EdgekdError):
    exit_code = 2


class DataError(EdgekdError):
    exit_code = 2


class AccuracyBudgetError(EdgekdError):
    exit_code = 3


class BudgetError(EdgekdError):
    exit_code = 4


class InconclusiveError(EdgekdError):
    exit_code = 5


class UnavailableError(EdgekdError):
    exit_code = 6
