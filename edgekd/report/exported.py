"""The report of `edgekd export`: every variant in every runtime, what ships, and why the others do not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgekd.budget import Verdict, at_least, worst
from edgekd.deploy.evaluate import correct
from edgekd.deploy.select import SAME, rank, why_not
from edgekd.deploy.verdicts import accuracy, latency_and_size
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.hardware.measure import result
from edgekd.hardware.measure.result import Comparison
from edgekd.report.stages import TellExport
from edgekd.report.tell import how_measured
from edgekd.stats import paired_difference, proportion_interval

SCHEMA = 2
WORST_LAYERS = 5


def run(settings: TellExport, inputs: Mapping[str, Artifact], work: Work) -> None:
    comparison = result.read(inputs["comparison"])
    shipped = inputs["selection"].json("decision.json")["variant"]
    ranked = rank(settings.select, inputs)
    own = next(r for r in ranked if r.name == shipped)
    base = settings.select.base
    judged = _judge(settings, inputs, comparison, shipped)
    report = {
        "schema": SCHEMA,
        "command": "export",
        "name": settings.name,
        "target": settings.target,
        "shipped": shipped,
        "base": base,
        "state": worst(judged),
        "verdicts": [verdict.model_dump(mode="json") for verdict in judged],
        "accuracy_is": "share of right answers" if settings.labelled else f"share of answers kept of {base}",
        "test": {name: _test(name, inputs, base) for name in dict.fromkeys((base, shipped))},
        "measurement": how_measured(comparison),
        "variants": {name: _variant(name, inputs, comparison, base) for name in comparison.models},
        "rejected": {r.name: why_not(r, own, base) for r in ranked if r.name != shipped},
        "not_written": settings.not_written,
        "recipes": {
            name.removeprefix("recipe."): artifact.json("decision.json")["why"]
            for name, artifact in inputs.items()
            if name.startswith("recipe.")
        },
        "replayed": list(settings.replayed) if settings.replayed is not None else None,
    }
    (work.out / "report.json").write_text(json.dumps(report, indent=1), "utf-8")
    (work.out / "report.md").write_text(markdown(report), "utf-8")


def _judge(settings: TellExport, inputs: Mapping[str, Artifact], comparison: Comparison, shipped: str) -> list[Verdict]:
    """What ships against the budget, its accuracy on test, which nothing before has read; and never slower."""
    base, budget = settings.select.base, settings.select.budget
    change = paired_difference(correct(inputs[f"test.{base}"]), correct(inputs[f"test.{shipped}"]))
    speedup = SAME if shipped == base else comparison.speedup_over[base][shipped]
    verdicts = accuracy(budget, change) + latency_and_size(budget, comparison, shipped)
    return [*verdicts, at_least(f"speedup_over_{base}", 1.0, *speedup)]


def _test(name: str, inputs: Mapping[str, Artifact], base: str) -> dict[str, Any]:
    right = correct(inputs[f"test.{name}"])
    return {
        "n": len(right),
        "accuracy_percent": list(proportion_interval(int(right.sum()), len(right))),
        "change_points": list(paired_difference(correct(inputs[f"test.{base}"]), right)),
    }


def _variant(name: str, inputs: Mapping[str, Artifact], comparison: Comparison, base: str) -> dict[str, Any]:
    exported = inputs[f"model.{name}"].json("export.json")
    right = correct(inputs[f"val.{name}"])
    speedup = SAME if name == base else comparison.speedup_over[base][name]
    return {
        "size_bytes": comparison.models[name].size_bytes,
        "accuracy_val_percent": {"n": len(right), "interval": list(proportion_interval(int(right.sum()), len(right)))},
        "accuracy_change_points": list(paired_difference(correct(inputs[f"val.{base}"]), right)),
        "latency": {"kind": comparison.kind, **comparison.models[name].model_dump(mode="json")},
        "speedup": list(speedup),
        "coverage": exported["coverage"],
        "parity": exported["parity"],
        "refused": exported["refused"],
        "worst_layers_snr_db": dict(list(exported["layers_snr_db"].items())[:WORST_LAYERS]),
        "runtime": exported["runtime"],
    }


def markdown(report: dict[str, Any]) -> str:
    """report.json for a reader."""
    how, base = report["measurement"], report["base"]
    tested = report["test"][report["shipped"]]
    lines = [
        f"# {report['name']} on {report['target']}: ships `{report['shipped']}`, budget {report['state']}",
        "",
        *(f"- {Verdict(**verdict)}" for verdict in report["verdicts"]),
        "",
        f"On {tested['n']} test samples, which decided nothing: {_accuracy(tested['accuracy_percent'])}, "
        f"{_change(tested['change_points'])} points against {base}.",
        "",
        f"| variant | accuracy on val | against {base} | p50 ms | times faster | size kB | integer layers | parity |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(name, row) for name, row in report["variants"].items()),
        "",
        f"Accuracy: {report['accuracy_is']}, of the exported file in its runtime; changes are paired, 90 % interval. "
        f"Latency: {how['kind']}, batch {how['batch']}, one comparison: {how['processes']} processes x {how['rounds']} "
        "rounds; ratios with 95 % intervals over processes. Parity: the distance of the runtime from the graph's own "
        "arithmetic in steps of the output, 99th percentile.",
        *(f"Too noisy to rely on: {reason}." for reason in how["noise"]["reasons"]),
        f"Device: {how['device']['model']}, {', '.join(how['device']['isa'])}.",
        "",
        *(f"- `{name}` does not ship: {why}" for name, why in report["rejected"].items()),
        *(f"- `{name}` could not be written: {why}" for name, why in report["not_written"].items()),
        *(f"- how {name} was quantised: {why}" for name, why in report["recipes"].items()),
        "",
        *_float_layers(report),
        *_replayed(report["replayed"]),
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, row: dict[str, Any]) -> str:
    parity, covered = row["parity"], row["coverage"]
    steps = parity and parity["steps_p99"]
    cells = [
        name,
        _accuracy(row["accuracy_val_percent"]["interval"]),
        _change(row["accuracy_change_points"]),
        f"{row['latency']['latency_p50_ms'][0]:.3f}",
        "{:.2f} [{:.2f}, {:.2f}]".format(*row["speedup"]),
        f"{row['size_bytes'] / 1e3:.0f}",
        f"{covered['integer']} of {covered['total']}",
        "exact" if steps is None else f"{steps:.1f} of {parity['steps_limit']}, top-1 {parity['top1_agreement']:.1%}",
    ]
    return f"| {' | '.join(cells)} |"


def _accuracy(interval: list[float]) -> str:
    return f"{interval[0]:.2f} %"


def _change(interval: list[float]) -> str:
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*interval)


def _float_layers(report: dict[str, Any]) -> list[str]:
    """Every layer of a quantised variant that runs in float, and why."""
    lines = []
    for name, row in report["variants"].items():
        if not name.startswith("int8"):
            continue
        why = row["coverage"]["why"]
        lines += [f"- `{name}`: {layer or 'a layer'} runs in float: {reason}" for layer, reason in why.items()]
    return ["Layers of quantised variants that run in float:", "", *lines, ""] if lines else []


def _replayed(differences: list[str] | None) -> list[str]:
    if differences is None:
        return []
    said = [f"- {sentence}" for sentence in differences] or ["- nowhere"]
    return ["Made from a lock. Where today would have come out otherwise:", *said, ""]
