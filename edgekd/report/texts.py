"""The report of a build of text: what every file is worth and costs, what ships, and why the others do not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgekd.budget import TEACHER, Verdict, worst
from edgekd.deploy.select import why_not
from edgekd.deploy.verdicts import latency_and_size
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.hardware.measure import result
from edgekd.hardware.measure.result import Comparison
from edgekd.report.stages import TellText
from edgekd.report.targets_page import latency
from edgekd.report.tell import how_measured
from edgekd.text import evaluate, judged
from edgekd.text.held import read as read_texts
from edgekd.text.select import best, held_against, rank

SCHEMA = 2
FLOAT = "fp32"


def run(settings: TellText, inputs: Mapping[str, Artifact], work: Work) -> None:
    comparison = result.read(inputs["comparison"])
    shipped = inputs["selection"].json("decision.json")["variant"]
    ranked = rank(settings.select, inputs)
    own = next(one for one in ranked if one.name == shipped)
    verdicts = _judge(settings, inputs, comparison, shipped)
    report = {
        "schema": SCHEMA,
        "pipeline": settings.pipeline,
        "task": settings.task,
        "target": settings.target,
        "shipped": shipped,
        "state": worst(verdicts),
        "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts],
        "teachers_best": best(comparison, settings.select.teachers),
        "length": settings.length,
        "read": settings.read,
        "padded": settings.padded,
        "cut": inputs[f"test.{shipped}"].json("about.json")["cut"],
        "texts": texts_of(inputs),
        "training": training_of(inputs["student"]),
        "measurement": how_measured(comparison),
        "variants": {name: _variant(name, inputs, comparison) for name in comparison.models},
        "rejected": {one.name: why_not(one, own) for one in ranked if one.name != shipped},
        "not_written": settings.not_written,
        "replayed": list(settings.replayed) if settings.replayed is not None else None,
    }
    (work.out / "report.json").write_text(json.dumps(report, indent=1), "utf-8")
    (work.out / "report.md").write_text(markdown(report), "utf-8")


def _judge(settings: TellText, inputs: Mapping[str, Artifact], comparison: Comparison, shipped: str) -> list[Verdict]:
    """What ships against the budget, its quality on test, which nothing before has read."""
    budget = settings.select.budget
    teacher, own = (evaluate.read(inputs[f"test.{name}"]) for name in (TEACHER, shipped))
    costs = latency_and_size(budget, held_against(comparison, settings.select.teachers), shipped)
    return judged.quality(budget, own, teacher) + costs


def _variant(name: str, inputs: Mapping[str, Artifact], comparison: Comparison) -> dict[str, Any]:
    exported = inputs[f"model.{name}"].json("export.json")
    floats = TEACHER if name.startswith("teacher-") else FLOAT
    teacher, own, base = (evaluate.read(inputs[f"test.{of}"]) for of in (TEACHER, name, floats))
    return {
        "size_bytes": comparison.models[name].size_bytes,
        "test": judged.told(own, teacher, base),
        "latency": {"kind": comparison.kind, **comparison.models[name].model_dump(mode="json")},
        "speedup_over": {base: list(row[name]) for base, row in comparison.speedup_over.items() if name in row},
        "coverage": exported["coverage"],
        "parity": exported["parity"],
        "refused": exported["refused"],
        "runtime": exported["runtime"],
    }


def texts_of(inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    texts = read_texts(inputs["texts"].path)
    return {**{name: len(some) for name, some in texts.texts.items()}, "classes": list(texts.names), **texts.about}


def training_of(student: Artifact) -> dict[str, Any]:
    told: dict[str, Any] = student.json("training.json")["training"]
    covered = student.path / "vocabulary.json"
    return told | {"vocabulary": student.json("vocabulary.json")["sentence"] if covered.is_file() else None}


def markdown(report: dict[str, Any]) -> str:
    """report.json for a reader."""
    how, texts = report["measurement"], report["texts"]
    classes = report["task"] == "text-classification"
    left_out = f"; {texts['left_out']} are left out, for they judge" if texts.get("left_out") else ""
    lines = [
        f"# {report['pipeline']} on {report['target']}: ships `{report['shipped']}`, budget {report['state']}",
        "",
        *(f"- {Verdict(**verdict)}" for verdict in report["verdicts"]),
        "",
        *(classes_of(report) if classes else embeddings(report)),
        "",
        f"Quality: of the exported file in its runtime, on {n_of(report)} test texts that decided nothing, each alone; "
        "intervals of 90 %, changes paired. Latency: "
        f"{how['kind']}, batch {how['batch']}, {report['length']} tokens, one comparison: {how['processes']} processes "
        f"x {how['rounds']} rounds; ratios with 95 % intervals over processes. The teacher's best file is "
        f"`{report['teachers_best']}`: speedup_over_teacher_int8 is over that one.",
        *(f"Too noisy to rely on: {reason}." for reason in how["noise"]["reasons"]),
        f"Device: {how['device']['model']}, {', '.join(how['device']['isa'])}.",
        "",
        f"Learnt from {texts['train']} texts ({texts.get('source', 'given')}); {texts['val']} are val and "
        f"{texts['test']} test{left_out}.",
        *lengths(report),
        *([f"Vocabulary: {report['training']['vocabulary']}."] if report["training"]["vocabulary"] else []),
        "",
        *(f"- `{name}` does not ship: {why}" for name, why in report["rejected"].items()),
        *(f"- `{name}` could not be written: {why}" for name, why in report["not_written"].items()),
        "",
        *replayed(report["replayed"]),
    ]
    return "\n".join(lines) + "\n"


def lengths(report: dict[str, Any]) -> list[str]:
    longer = (
        f"{report['cut']} of {n_of(report)} test texts are longer than {report['read']} tokens: the rest is not read."
    )
    padded = (
        [f"The device wants fixed shapes: every text is padded to {report['read']} tokens."] if report["padded"] else []
    )
    return [*padded, *([longer] if report["cut"] else [])]


def n_of(report: dict[str, Any]) -> int:
    return int(report["variants"][report["shipped"]]["test"]["n"])


def embeddings(report: dict[str, Any]) -> list[str]:
    pairs = report["variants"][TEACHER]["test"].get("pairs")
    scored = f" | Spearman x 100 (n {pairs}) | below the teacher" if pairs else ""
    costs = "cosine to its fp32 | p50 ms | times faster | size MB"
    lines = [f"| variant | like the teacher | recall at 10, %{scored} | {costs} |"]
    lines.append("|---" * (lines[0].count("|") - 1) + "|")
    for name, row in report["variants"].items():
        test = row["test"]
        cells = [name, ends(test["fidelity"], ".3f"), f"{test['recall_at_10_percent']:.1f}"]
        if pairs:
            cells += [
                ends([100 * end for end in test["spearman"]], ".2f"),
                ends(test["spearman_drop_points"], "+.2f"),
            ]
        lines.append(f"| {' | '.join([*cells, *_costs(row)])} |")
    said = (
        "Like the teacher: how both rank pairs of test texts by how alike they are, Spearman. Recall at 10: for how "
        "many texts the one that the teacher finds nearest is among the ten nearest here."
    )
    return [*lines, "", said]


def classes_of(report: dict[str, Any]) -> list[str]:
    lines = [
        "| variant | accuracy % | against the teacher | agrees with it % | cosine to its fp32 | p50 ms | times faster "
        "| size MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in report["variants"].items():
        test = row["test"]
        change = "" if name == TEACHER else ends(test["accuracy_change_points"], "+.2f")
        cells = [name, ends(test["accuracy_percent"], ".1f"), change, f"{test['agrees_with_teacher_percent']:.1f}"]
        lines.append(f"| {' | '.join([*cells, *_costs(row)])} |")
    return lines


def _costs(row: Mapping[str, Any]) -> list[str]:
    """Of files for a device elsewhere their compiler's, where they are any."""
    near = row["test"]["cosine_to_float"]
    cells = ["" if near is None else f"{near[0]:.4f}"]
    if "latency" in row:
        faster = row["speedup_over"].get(TEACHER)
        cells += [f"{row['latency']['latency_p50_ms'][0]:.3f}", ends(faster, ".2f") if faster else "1"]
    else:
        cells += [latency(row["costs"]) if row["costs"] else "", ""]
    return [*cells, f"{row['size_bytes'] / 1e6:.1f}" if "size_bytes" in row else ""]


def ends(interval: list[float], how: str) -> str:
    value, low, high = (format(end, how) for end in interval)
    return f"{value} [{low}, {high}]"


def replayed(differences: list[str] | None) -> list[str]:
    if differences is None:
        return []
    said = [f"- {sentence}" for sentence in differences] or ["- nowhere"]
    return ["Built from a lock. Where today would have come out otherwise:", *said, ""]
