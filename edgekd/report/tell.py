"""Collect every number of a build with its kind, n and interval; judge the shipped variant on test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from safetensors.numpy import load_file

from edgekd import fidelity
from edgekd.budget import TEACHER, Verdict, worst
from edgekd.deploy.evaluate import correct
from edgekd.deploy.select import rank, why_not
from edgekd.deploy.stages import Select
from edgekd.deploy.verdicts import accuracy, latency_and_size
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.hardware.measure import result
from edgekd.hardware.measure.result import Comparison
from edgekd.prune.stages import CHOSEN
from edgekd.report.cuts import of_all_rounds
from edgekd.report.looks import looks
from edgekd.report.markdown import markdown
from edgekd.report.searched import told_of
from edgekd.report.stages import Tell
from edgekd.sparse.packing import weighs
from edgekd.stats import paired_difference, proportion_interval

SCHEMA = 2


def run(settings: Tell, inputs: Mapping[str, Artifact], work: Work) -> None:
    comparison = result.read(inputs["comparison"])
    shipped = inputs["selection"].json("decision.json")["variant"]
    judged = _judge(settings, inputs, comparison, shipped)
    ranked = rank(Select(budget=settings.budget, variants=settings.variants), inputs)
    own = next(r for r in ranked if r.name == shipped)
    cuts = [inputs[name].json(CHOSEN) for name in sorted(inputs) if name.startswith("cut.")]
    rejected = {r.name: why_not(r, own) for r in ranked if r.name != shipped}
    report = {
        "schema": SCHEMA,
        "pipeline": settings.pipeline,
        "target": settings.target,
        "shipped": shipped,
        "state": worst(judged),
        "verdicts": [verdict.model_dump(mode="json") for verdict in judged],
        "dialect": settings.dialect,
        "precision": inputs["precision"].json("decision.json")["why"],
        "measurement": how_measured(comparison),
        "variants": {name: _variant(name, inputs, comparison) for name in comparison.models},
        "rejected": rejected,
        "not_written": settings.not_written,
        "replayed": list(settings.replayed) if settings.replayed is not None else None,
        "distillation": _distillation(settings, inputs, list(comparison.models)),
        "search": told_of(inputs, settings.rank, settings.search_cost, settings.target) if "choice" in inputs else None,
        "pruned": of_all_rounds(cuts) if cuts else None,
        "zeros": inputs["zeros"].json("zeros.json")["says"] if "zeros" in inputs else [],
    }
    (work.out / "report.json").write_text(json.dumps(report, indent=1), "utf-8")
    (work.out / "report.md").write_text(markdown(report), "utf-8")


def _distillation(settings: Tell, inputs: Mapping[str, Artifact], names: list[str]) -> dict[str, Any]:
    """
    How the student was trained; how sure it is and how like the teacher, each file on test, and its float net in torch
    on what it learnt from, what it did not, and shifted pictures. None of it decides.
    """
    teacher = load_file(inputs[f"test.{TEACHER}"].file("predictions.safetensors"))
    fidelities = {}
    for name in names:
        own = load_file(inputs[f"test.{name}"].file("predictions.safetensors"))
        fidelities[name] = fidelity.all_of(own["answers"], teacher["answers"], teacher["labels"])
    return {
        "advice": list(settings.advice),
        "training": inputs["student"].json("training.json"),
        "test": fidelities,
        "looks": looks({name.removeprefix("look."): each for name, each in inputs.items() if name.startswith("look.")}),
    }


def how_measured(comparison: Comparison) -> dict[str, Any]:
    wanted = {"kind", "when", "device", "processes", "rounds", "batch", "clock", "noise"}
    return {key: value for key, value in comparison.model_dump(mode="json").items() if key in wanted}


def _judge(settings: Tell, inputs: Mapping[str, Artifact], comparison: Comparison, shipped: str) -> list[Verdict]:
    """The shipped variant against the budget, its accuracy on test, which nothing before has read."""
    change = paired_difference(correct(inputs[f"test.{TEACHER}"]), correct(inputs[f"test.{shipped}"]))
    return accuracy(settings.budget, change) + latency_and_size(settings.budget, comparison, shipped)


def _variant(name: str, inputs: Mapping[str, Artifact], comparison: Comparison) -> dict[str, Any]:
    exported = inputs[f"model.{name}"].json("export.json")
    right = correct(inputs[f"test.{name}"])
    change = paired_difference(correct(inputs[f"test.{TEACHER}"]), right)
    return {
        **weighs([inputs[f"model.{name}"].file(file) for file in exported["files"]])._asdict(),
        "size_bytes": comparison.models[name].size_bytes,
        "accuracy_test_percent": {"n": len(right), "interval": list(proportion_interval(int(right.sum()), len(right)))},
        "accuracy_change_points": {"against": TEACHER, "n": len(right), "interval": list(change)},
        "latency": {"kind": comparison.kind, **comparison.models[name].model_dump(mode="json")},
        "speedup_over": {base: list(row[name]) for base, row in comparison.speedup_over.items() if name in row},
        "coverage": exported["coverage"],
        "parity": exported["parity"],
        "not_run": exported["not_run"],
    }
