"""One check as a person reads it: shared by the terminal, Markdown and annotations."""

from __future__ import annotations

import math

from edgekd.gate.result import ABOUT, Check, GateResult

FIGURES = ("latency_p50", "size", "memory")  # the others are changes
MARKS = {"pass": "pass", "fail": "FAIL", "inconclusive": "inconclusive"}


def found(check: Check) -> str:
    """`+0.4 % [-0.3, +1.1]` of a change, `12.3 ms` of a figure, or nothing where there are no numbers."""
    if check.verdict is None:
        return ""
    sign = "" if check.name in FIGURES else "+"
    value, low, high = (_number(end, sign) for end in (check.verdict.value, check.verdict.low, check.verdict.high))
    return f"{value} {check.unit}" if low == high else f"{value} {check.unit} [{low}, {high}]"


def limit(check: Check) -> str:
    return "" if check.verdict is None else f"{check.verdict.bound:.4g} {check.unit}"


def sentence(check: Check) -> str:
    """Everything about it in a line."""
    numbers = f": {against(check)}" if check.verdict else ""
    return f"{check.name} {MARKS[check.state]}{numbers} ({check.says})"


def headline(result: GateResult) -> str:
    return f"{result.candidate} against {result.baseline}: {MARKS[result.state]}"


def rows(result: GateResult) -> list[tuple[str, str, str, str]]:
    """Check, state, what was found against the limit, what it says; what was not checked comes last."""
    table: list[tuple[str, str, str, str]]
    table = [(check.name, MARKS[check.state], against(check), check.says) for check in result.checks]
    return table + [(name, "not checked", "", why) for name, why in result.skipped.items()]


def against(check: Check) -> str:
    return f"{found(check)}, limit {limit(check)}" if check.verdict else ""


def about(check: Check) -> str:
    return ABOUT[check.name]


def _number(value: float, sign: str) -> str:
    """Three digits, never an exponent."""
    if abs(value) < 5e-4:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:{sign}.{digits}f}"
