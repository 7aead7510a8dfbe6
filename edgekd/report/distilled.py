"""The report of `edgekd distill` as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekd.report.looks import table, taught


def markdown(report: Mapping[str, Any]) -> str:
    lines = [
        f"# {report['pipeline']}: a distilled student",
        "",
        "Judged in torch: `edgekd export` or `edgekd build` judge what a runtime answers. None of these is the loss.",
        "",
        *table(report["looks"]),
    ]
    training = report["training"]
    if training["start"]:
        blocks = ", ".join("fresh" if block is None else str(block + 1) for block in training["start"]["blocks"])
        lines += ["", f"It started from the teacher's blocks {blocks} of {training['start']['of']}."]
        lines[-1] += " Of some only the strongest channels." if training["start"]["narrower"] else ""
    elif "first" not in training:
        lines += ["", "It started with fresh weights."]
    lines += ["", *taught(training.get("targets"))][:-1]
    lines += [line for sentence in report["advice"] for line in ("", f"Advice: {sentence}.")]
    if training["alarm"]:
        lines += ["", f"Warning: {training['alarm']}."]
    return "\n".join(lines) + "\n"
