"""The report of a device elsewhere: accuracy by what answers for it here, and what its compiler says of its costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgekd.budget import TEACHER, Verdict, worst
from edgekd.deploy import exporter
from edgekd.deploy.evaluate import correct
from edgekd.deploy.select_compiled import rank, size_bytes, why_not
from edgekd.deploy.verdicts import accuracy, compiled
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.report.stages import TellCompiled
from edgekd.report.targets_page import latency
from edgekd.stats import paired_difference, proportion_interval

SCHEMA = 1


def run(settings: TellCompiled, inputs: Mapping[str, Artifact], work: Work) -> None:
    shipped = inputs["selection"].json("decision.json")["variant"]
    files = {name.removeprefix("model."): model for name, model in inputs.items() if name.startswith("model.")}
    costs = {name: exporter.costs(model) for name, model in files.items()}
    sizes = {name: size_bytes(model) for name, model in files.items()}
    plan = settings.select
    judged, undecided = compiled(plan.budget, plan.room, costs, sizes, shipped)
    change = paired_difference(correct(inputs[f"test.{TEACHER}"]), correct(inputs[f"test.{shipped}"]))
    judged = [*accuracy(plan.budget, change), *judged]
    ranked = rank(plan, inputs)
    own = next(r for r in ranked if r.name == shipped)
    report = {
        "schema": SCHEMA,
        "command": "build",
        "pipeline": settings.pipeline,
        "target": settings.target,
        "student_of": settings.lead,
        "shipped": shipped,
        "state": worst(judged),
        "verdicts": [verdict.model_dump(mode="json") for verdict in judged],
        "undecided": undecided,
        "dialect": settings.dialect,
        "numerics": settings.numerics,
        "precision": inputs["precision"].json("decision.json")["why"],
        "variants": {
            name: _variant(inputs, files.get(name), name)
            for name in (TEACHER, "fp32", *(name for name in files if name != TEACHER))
        },
        "rejected": {r.name: why_not(r, own) for r in ranked if r.name != shipped},
        "not_written": settings.not_written,
        "replayed": list(settings.replayed) if settings.replayed is not None else None,
        "training": inputs["student"].json("training.json"),
        "advice": list(settings.advice),
    }
    (work.out / "report.json").write_text(json.dumps(report, indent=1), "utf-8")
    (work.out / "report.md").write_text(markdown(report), "utf-8")


def _variant(inputs: Mapping[str, Artifact], model: Artifact | None, name: str) -> dict[str, Any]:
    """`fp32` and the teacher answered on the target whose student this is: they are no files of the device."""
    row: dict[str, Any] = {"accuracy_test_percent": None, "accuracy_change_points": None, "costs": None}
    if f"test.{name}" in inputs:
        right, base = correct(inputs[f"test.{name}"]), correct(inputs[f"test.{TEACHER}"])
        share, n = list(proportion_interval(int(right.sum()), len(right))), len(right)
        row["accuracy_test_percent"] = {"n": n, "interval": share}
        change = {"against": TEACHER, "n": n, "interval": list(paired_difference(base, right))}
        row["accuracy_change_points"] = change
    if model is None or name == TEACHER:
        return row
    told = exporter.read(model)
    kept = ("costs", "coverage", "parity", "not_run", "notes")
    return row | {"size_bytes": size_bytes(model)} | {key: told[key] for key in kept}


def markdown(report: dict[str, Any]) -> str:
    n = report["variants"][TEACHER]["accuracy_test_percent"]["n"]
    own = report["variants"][report["shipped"]]
    lines = [
        f"# {report['pipeline']} on {report['target']}: ships `{report['shipped']}`, budget {report['state']}",
        "",
        *(f"- {Verdict(**verdict)}" for verdict in report["verdicts"]),
        *(f"- {sentence}" for sentence in report["undecided"]),
        "",
        "| variant | accuracy on test | against teacher | latency | size kB | flash kB | RAM kB | integer layers |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(name, row) for name, row in report["variants"].items()),
        "",
        f"The device is elsewhere. Accuracy: numerics are `{report['numerics']}`, n = {n}; changes are paired, 90 % "
        f"intervals in points; teacher-fp32 and fp32 answered on {report['student_of']}, for which the student was "
        f"searched. Costs: {own['costs']['told_by']}. Dialect: {report['dialect']}.",
        "",
        *(f"- {note}" for note in [*own["notes"], *([own["not_run"]] if own["not_run"] else [])]),
        "",
        f"{report['precision']}.",
        *(f"- `{name}` does not ship: {why}" for name, why in report["rejected"].items()),
        *(f"- `{name}` could not be written: {why}" for name, why in report["not_written"].items()),
        *_replayed(report["replayed"]),
        *(["", *(f"- {sentence}" for sentence in report["advice"])] if report["advice"] else []),
    ]
    return "\n".join(lines) + "\n"


def accuracy_of(row: Mapping[str, Any]) -> str:
    told = row["accuracy_test_percent"]
    return f"{told['interval'][0]:.1f} %" if told else "not asked"


def _row(name: str, row: Mapping[str, Any]) -> str:
    cells = [name, accuracy_of(row)]
    change = row["accuracy_change_points"]["interval"] if row["accuracy_change_points"] and name != TEACHER else None
    cells.append(f"{change[0]:+.1f} [{change[1]:+.1f}, {change[2]:+.1f}]" if change else "")
    if row["costs"] is None:
        return f"| {' | '.join([*cells, '', '', '', '', ''])} |"
    memory = [row["costs"][key] for key in ("flash_kib", "ram_kib")]
    cells += [latency(row["costs"]), f"{row['size_bytes'] / 1e3:.1f}"]
    cells += ["" if one is None else f"{one * 1.024:.1f}" for one in memory]
    cells.append(f"{row['coverage']['integer']} of {row['coverage']['total']}")
    return f"| {' | '.join(cells)} |"


def _replayed(differences: list[str] | None) -> list[str]:
    if differences is None:
        return []
    return ["", "Built from a lock. Where today would have come out otherwise:", *(differences or ["nowhere"])]
