"""The report of `edgekd distill` as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def markdown(report: Mapping[str, Any]) -> str:
    lines = [
        f"# {report['pipeline']}: a distilled student",
        "",
        "Judged in torch: `edgekd export` or `edgekd build` judge what a runtime answers. None of these is the loss.",
        "",
        "| samples | n | teacher % | student % | change, points | agree | loyalty | KL(teacher, student) | ECE | NLL |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in report["looks"].items():
        value, low, high = row["change_points"]
        lines.append(
            f"| {name} | {row['n']} | {row['teacher']['accuracy_percent']:.2f} | {row['accuracy_percent'][0]:.2f} | "
            f"{value:+.2f} [{low:+.2f}, {high:+.2f}] | {100 * row['agreement']:.1f} % | "
            f"{row['probability_loyalty']:.3f} | {row['kl']:.3f} | {row['ece']:.3f} | {row['nll']:.3f} |"
        )
    training = report["training"]
    if training["start"]:
        blocks = ", ".join("fresh" if block is None else str(block + 1) for block in training["start"]["blocks"])
        lines += ["", f"It started from the teacher's blocks {blocks} of {training['start']['of']}."]
        lines[-1] += " Of some only the strongest channels." if training["start"]["narrower"] else ""
    elif "first" not in training:
        lines += ["", "It started with fresh weights."]
    lines += [line for sentence in report["advice"] for line in ("", f"Advice: {sentence}.")]
    if training["alarm"]:
        lines += ["", f"Warning: {training['alarm']}."]
    return "\n".join(lines) + "\n"
