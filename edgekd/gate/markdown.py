"""For pull requests, step summaries and GitHub's annotations."""

from __future__ import annotations

from edgekd.gate.result import GateResult
from edgekd.gate.words import headline, rows, sentence
from edgekd.hardware.measure.result import Comparison

COMMANDS = {"fail": "error", "inconclusive": "warning"}


def markdown(result: GateResult) -> str:
    lines = [
        f"### edgekd check: {_cell(headline(result))}",
        "",
        "| check | | found | |",
        "|---|---|---|---|",
        *("| " + " | ".join(map(_cell, row)) + " |" for row in rows(result)),
        "",
        *_conditions(result.comparison),
        *(f"\n{note}." for note in result.notes),
        *(f"\n{told}." for told in result.decidable),
    ]
    return "\n".join(lines) + "\n"


def _conditions(seen: Comparison | None) -> list[str]:
    if seen is None:
        return []
    return [
        f"{seen.device.model}, {seen.processes} processes x {seen.rounds} rounds, {seen.kind}; {seen.noise}. "
        "Intervals of changes of accuracy and latency: 90 %, each end a one-sided 95 % bound; of everything else: 95 %."
    ]


def workflow_commands(result: GateResult) -> str:
    """GitHub's workflow commands: an error for each failed limit, a warning for each undecided one."""
    lines = [
        f"::{COMMANDS[check.state]} title=edgekd {check.name}::{_escaped(sentence(check))}"
        for check in result.checks
        if check.state in COMMANDS
    ]
    return "".join(f"{line}\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
