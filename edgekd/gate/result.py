"""What the gate found, typed: the same for the terminal, JSON, JUnit, SARIF and Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from edgekd.budget import State, Verdict
from edgekd.hardware.measure.result import Comparison
from edgekd.settings import Settings

Name = Literal[
    "contract", "accuracy", "latency", "latency_p50", "size_growth", "size", "memory_growth", "memory", "coverage"
]
ABOUT: dict[Name, str] = {
    "contract": "inputs, outputs, labels and preprocessing are the baseline's",
    "accuracy": "accuracy on the same samples, paired",
    "latency": "latency on the same device in the same job",
    "latency_p50": "median latency, absolute",
    "size_growth": "size of the model's files",
    "size": "size of the model's files, absolute",
    "memory_growth": "peak memory of the model",
    "memory": "peak memory of the model, absolute",
    "coverage": "layers that run as integers",
}
ANSWERS: tuple[Name, ...] = ("contract", "accuracy")  # what an application gets; the others are what it costs


class Check(Settings):
    """One limit: what was found, with its interval, against what is allowed. A contract has no numbers."""

    name: Name
    state: State
    says: str
    unit: str = ""
    verdict: Verdict | None = None


class Evaluation(Settings):
    """On which samples both models were judged, by what."""

    file: str
    sha256: str
    n: int
    metric: str
    baseline: float
    candidate: float
    lost: int | None = None  # samples that only the baseline answers right
    won: int | None = None
    mcnemar_p: float | None = None  # told, and decides nothing


class GateResult(Settings):
    schema_version: int = Field(default=1, alias="schema")
    edgekd: str
    when: str
    candidate: str
    baseline: str
    state: State  # the worst of the checks
    checks: tuple[Check, ...]
    skipped: dict[Name, str]  # what was not checked, and why
    decidable: tuple[str, ...]  # the smallest changes that these samples and processes can find
    evaluation: Evaluation | None
    comparison: Comparison | None  # None where no limit asked for latencies
    baseline_runtime: dict[str, Any]
    candidate_runtime: dict[str, Any]
    notes: tuple[str, ...] = ()

    def of(self, state: State) -> Iterator[Check]:
        return (check for check in self.checks if check.state == state)


def exit_code(result: GateResult, inconclusive: str) -> int:
    """0; else the first that applies of 3 (contract or accuracy), 4 (what it costs), 5 (undecided, told to fail)."""
    failed = {check.name for check in result.of("fail")}
    if failed & set(ANSWERS):
        return 3
    if failed:
        return 4
    return 5 if inconclusive == "fail" and any(result.of("inconclusive")) else 0
