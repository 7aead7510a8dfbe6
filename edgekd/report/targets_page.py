"""What became of each target of a build, on one page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd.deploy.bundle import Built
from edgekd.engine.store import write_atomically
from edgekd.errors import EdgekdError

SCHEMA = 1
HEADINGS = ("target", "ships", "accuracy on test", "against teacher", "parity", "size kB", "latency", "budget")
SHORT = ("target", "ships", "accuracy on test", "size kB", "latency", "budget")  # of a terminal's width


def publish(folder: Path, pipeline: str, done: Sequence[Built], failed: Mapping[str, EdgekdError]) -> None:
    """targets.json and targets.md beside the bundles."""
    rows = [row(built.report) for built in done]
    told = {
        "schema": SCHEMA,
        "pipeline": pipeline,
        "targets": rows,
        "failed": {name: {"error": str(error), "exit_code": error.exit_code} for name, error in failed.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "targets.json", json.dumps(told, indent=1))
    write_atomically(folder / "targets.md", markdown(told))


def row(report: Mapping[str, Any]) -> dict[str, Any]:
    """One target's line, of what it ships; the latency keeps its kind."""
    name = report["shipped"]
    own = report["variants"][name]
    if "task" in report:
        return _text_row(report, own)
    elsewhere = "student_of" in report
    parity = own["parity"]
    return {
        "target": report["target"],
        "ships": name,
        "state": report["state"],
        "accuracy_percent": own["accuracy_test_percent"]["interval"],
        "n": own["accuracy_test_percent"]["n"],
        "change_points": own["accuracy_change_points"]["interval"],
        "numerics": report["numerics"] if elsewhere else "device",
        "top1_agreement_percent": None if parity is None else 100 * parity["top1_agreement"],
        "steps_p99": None if parity is None else parity["steps_p99"],
        "size_bytes": own["size_bytes"],
        "latency_kind": own["costs"]["latency_kind"] if elsewhere else own["latency"]["kind"],
        "latency_ms": own["costs"]["latency_ms"] if elsewhere else own["latency"]["latency_p50_ms"][0],
        "undecided": report.get("undecided", []),
    }


def _text_row(report: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    test, parity, elsewhere = own["test"], own["parity"], "student_of" in report
    return {
        "target": report["target"],
        "ships": report["shipped"],
        "state": report["state"],
        "accuracy_percent": test.get("accuracy_percent"),
        "fidelity": test["fidelity"],
        "n": test["n"],
        "change_points": test.get("accuracy_change_points"),
        "numerics": report["numerics"] if elsewhere else "device",
        "top1_agreement_percent": None if parity is None else 100 * parity["top1_agreement"],
        "steps_p99": None if parity is None else parity["steps_p99"],
        "size_bytes": own["size_bytes"],
        "latency_kind": own["costs"]["latency_kind"] if elsewhere else own["latency"]["kind"],
        "latency_ms": own["costs"]["latency_ms"] if elsewhere else own["latency"]["latency_p50_ms"][0],
        "undecided": report.get("undecided", []),
    }


def cells(one: Mapping[str, Any]) -> list[str]:
    """The line as text, in the order of HEADINGS."""
    change = one["change_points"]
    agreed, steps = one["top1_agreement_percent"], one["steps_p99"]
    words = "" if steps is None else f", {steps:.0f} step{'' if round(steps) == 1 else 's'}"
    parity = "not run" if agreed is None else f"{agreed:.1f} %{words}"
    return [
        one["target"],
        one["ships"],
        f"{quality(one)} ({one['numerics']})",
        f"{change[0]:+.1f} [{change[1]:+.1f}, {change[2]:+.1f}]" if change else "",
        parity,
        f"{one['size_bytes'] / 1e3:.1f}",
        latency(one),
        one["state"] + (f", {len(one['undecided'])} undecided" if one["undecided"] else ""),
    ]


def quality(one: Mapping[str, Any]) -> str:
    """Accuracy; of embeddings how like the teacher's they rank pairs of texts."""
    if one["accuracy_percent"] is None:
        return f"{one['fidelity'][0]:.3f} like the teacher"
    return f"{one['accuracy_percent'][0]:.1f} %"


def latency(costs: Mapping[str, Any] | None) -> str:
    """`0.047 ms estimated`, `none`."""
    if not costs or costs["latency_ms"] is None:
        return "none"
    return f"{costs['latency_ms']:.3f} ms {costs['latency_kind']}"


def markdown(told: Mapping[str, Any]) -> str:
    lines = [f"# {told['pipeline']}: its targets", "", f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    lines += [f"| {' | '.join(cells(one))} |" for one in told["targets"]]
    lines += [f"| {name} | failed | | | | | | |" for name in told["failed"]]
    n = told["targets"][0]["n"] if told["targets"] else 0
    lines += [
        "",
        f"Accuracy on {n} test samples, in what the word beside it says: the device, its simulator, or a reference. "
        "Changes are paired, 90 % intervals, in points. Parity: top-1 as the quantised graph has it, and how many "
        "steps of the output's scale 99 of 100 answers keep to. A latency has its kind: estimates of different "
        "compilers, and what was measured elsewhere, are not to be compared.",
        *(f"- {name} failed: {why['error']}" for name, why in told["failed"].items()),
        *(f"- {one['target']}: {sentence}" for one in told["targets"] for sentence in one["undecided"]),
    ]
    return "\n".join(lines) + "\n"
