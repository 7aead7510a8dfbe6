"""The report of text on a device elsewhere: what answers for it here, and what its compiler says of its costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgekd.budget import TEACHER, Verdict, worst
from edgekd.deploy import exporter
from edgekd.deploy.select_compiled import size_bytes, why_not
from edgekd.deploy.verdicts import compiled
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.report.stages import TellCompiledText
from edgekd.report.texts import FLOAT, SCHEMA, classes_of, embeddings, lengths, replayed, texts_of, training_of
from edgekd.text import evaluate, judged
from edgekd.text.select import rank_compiled

KEPT = ("costs", "coverage", "parity", "not_run", "notes", "refused", "runtime")


def run(settings: TellCompiledText, inputs: Mapping[str, Artifact], work: Work) -> None:
    plan, shipped = settings.select, inputs["selection"].json("decision.json")["variant"]
    files = {name.removeprefix("model."): model for name, model in inputs.items() if name.startswith("model.")}
    costs = {name: exporter.costs(model) for name, model in files.items()}
    sizes = {name: size_bytes(model) for name, model in files.items()}
    found, undecided = compiled(plan.budget, plan.room, costs, sizes, shipped)
    teacher, own = (evaluate.read(inputs[f"test.{name}"]) for name in (TEACHER, shipped))
    found = [*judged.quality(plan.budget, own, teacher), *found]
    ranked = rank_compiled(plan, inputs)
    ships = next(one for one in ranked if one.name == shipped)
    report = {
        "schema": SCHEMA,
        "pipeline": settings.pipeline,
        "task": settings.task,
        "target": settings.target,
        "student_of": settings.lead,
        "shipped": shipped,
        "state": worst(found),
        "verdicts": [verdict.model_dump(mode="json") for verdict in found],
        "undecided": undecided,
        "dialect": settings.dialect,
        "numerics": settings.numerics,
        "length": settings.read,
        "read": settings.read,
        "padded": True,
        "cut": inputs[f"test.{shipped}"].json("about.json")["cut"],
        "texts": texts_of(inputs),
        "training": training_of(inputs["student"]),
        "variants": {name: _variant(name, inputs, files.get(name)) for name in (TEACHER, FLOAT, *plan.variants)},
        "rejected": {one.name: why_not(one, ships) for one in ranked if one.name != shipped},
        "not_written": settings.not_written,
        "replayed": list(settings.replayed) if settings.replayed is not None else None,
    }
    (work.out / "report.json").write_text(json.dumps(report, indent=1), "utf-8")
    (work.out / "report.md").write_text(markdown(report), "utf-8")


def _variant(name: str, inputs: Mapping[str, Artifact], model: Artifact | None) -> dict[str, Any]:
    """`fp32` and the teacher answered where the student is from: they are no files of the device."""
    own, teacher, floats = (evaluate.read(inputs[f"test.{of}"]) for of in (name, TEACHER, FLOAT))
    row: dict[str, Any] = {"test": judged.told(own, teacher, floats), "costs": None}
    if model is None or name == TEACHER:
        return row
    told = exporter.read(model)
    return row | {"size_bytes": size_bytes(model)} | {key: told[key] for key in KEPT}


def markdown(report: dict[str, Any]) -> str:
    own, texts = report["variants"][report["shipped"]], report["texts"]
    lines = [
        f"# {report['pipeline']} on {report['target']}: ships `{report['shipped']}`, budget {report['state']}",
        "",
        *(f"- {Verdict(**verdict)}" for verdict in report["verdicts"]),
        *(f"- {sentence}" for sentence in report["undecided"]),
        "",
        *(classes_of(report) if report["task"] == "text-classification" else embeddings(report)),
        "",
        f"The device is elsewhere: numerics are `{report['numerics']}`, on {own['test']['n']} test texts; the float "
        f"student and the teacher answered on {report['student_of']}. Costs: {own['costs']['told_by']}. Dialect: "
        f"{report['dialect']}.",
        *lengths(report),
        "",
        *(f"- {note}" for note in [*own["notes"], *([own["not_run"]] if own["not_run"] else [])]),
        "",
        f"Learnt from {texts['train']} texts ({texts.get('source', 'given')}); {texts['val']} are val and "
        f"{texts['test']} test.",
        *(f"- `{name}` does not ship: {why}" for name, why in report["rejected"].items()),
        *(f"- `{name}` could not be written: {why}" for name, why in report["not_written"].items()),
        "",
        *replayed(report["replayed"]),
    ]
    return "\n".join(lines) + "\n"
