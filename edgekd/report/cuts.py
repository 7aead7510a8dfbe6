"""The report of `edgekd prune` as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.budget import TEACHER, TEACHER_INT8


def markdown(report: Mapping[str, Any]) -> str:
    lines = [
        f"# {report['pipeline']} on {report['target']}: pruned to its latency in {report['runtime']}",
        "",
        "| net | chosen by | wanted | predicted | measured, of the whole int8 net | % right on test | int8 by | "
        "against int8 | against float | parameters gone | MACs gone | kB | kB compressed |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(_whole(name, report["variants"][name]) for name in (TEACHER, TEACHER_INT8)),
        *(_row(name, row, report["variants"][name]) for name, row in report["pruned"].items()),
        "",
        f"Latency: measured, int8, one comparison on {report['device']}; shares of time with 95 % intervals over "
        f"processes. Accuracy: of the exported file, n = {report['n']}; changes are paired, 90 % intervals, in points. "
        "Predicted: by the staircase of whole nets that were measured with random weights.",
        *held_against(report["pruned"]),
        *_quantised(report["pruned"]),
        *(f"Too noisy to rely on: {reason}." for reason in report["noise"]["reasons"]),
    ]
    return "\n".join(lines) + "\n"


def of_build(row: Mapping[str, Any], variants: Mapping[str, Any]) -> list[str]:
    """What went of the teacher, and the time that its int8 file and the student's took in one comparison."""
    fewer = [f"{name} {stays} of {row['of'][name]}" for name, stays in row["units"].items() if stays < row["of"][name]]
    shares = [
        f"{name} {1 / value:.2f} [{1 / high:.2f}, {1 / low:.2f}]"
        for name, variant in variants.items()
        if name.startswith("int8") and (found := variant["speedup_over"].get(TEACHER_INT8))
        for value, low, high in [found]
    ]
    return [
        f"## What is left of the teacher: {row['ratio']:g} of its int8 latency was asked for",
        "",
        f"Of its parameters {gone(row, 'parameters'):.1f} % are gone, of its multiply-accumulates "
        f"{gone(row, 'macs'):.1f} %. Measured, of the time of `{TEACHER_INT8}`: {', '.join(shares) or 'no int8 file'}.",
        "",
        f"Units that stay{_last_of(row)}, where fewer do than there were: {', '.join(fewer) or 'none'}.",
        "",
    ]


def _last_of(row: Mapping[str, Any]) -> str:
    """Later rounds count the blocks of what the one before them left."""
    return f" after the last of {row['rounds']} rounds, of what the one before it left" if row["rounds"] > 1 else ""


def of_all_rounds(cuts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the last cut left of what the first one found."""
    shares = {name: math.prod(cut[name] for cut in cuts) for name in ("ratio", "predicted_ratio")}
    return {**cuts[-1], **shares, "before": cuts[0]["before"], "rounds": len(cuts)}


def measured_share(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """Of the whole int8 net's time, with its interval."""
    value, low, high = row["times_faster"]
    return 1 / value, 1 / high, 1 / low


def gone(row: Mapping[str, Any], what: str) -> float:
    """A share of what there was, in percent."""
    return 100 * float(1 - row["after"][what] / row["before"][what])


def _sizes(variant: Mapping[str, Any]) -> list[str]:
    """In kB, as it is and in a zip."""
    return [f"{variant[name] / 1e3:.0f}" for name in ("size_bytes", "compressed_bytes")]


def _whole(name: str, variant: Mapping[str, Any]) -> str:
    right, size = variant["accuracy_test_percent"][0], " | ".join(_sizes(variant))
    by = "ptq" if name == TEACHER_INT8 else ""
    return f"| {name} | | | | {'1' if name == TEACHER_INT8 else ''} | {right:.2f} | {by} | | | | | {size} |"


def _row(name: str, row: Mapping[str, Any], variant: Mapping[str, Any]) -> str:
    share = measured_share(row)
    changes = [row["change_points"][base] for base in (TEACHER_INT8, TEACHER)]
    cells = [
        name, row["by"], f"{row['ratio']:g}", f"{row['predicted_ratio']:.2f}",
        f"{share[0]:.2f} [{share[1]:.2f}, {share[2]:.2f}]", f"{variant['accuracy_test_percent'][0]:.2f}",
        row["int8"]["by"],
        *(f"{change[0]:+.2f} [{change[1]:+.2f}, {change[2]:+.2f}]" for change in changes),
        f"{gone(row, 'parameters'):.1f} %", f"{gone(row, 'macs'):.1f} %", *_sizes(variant),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def held_against(rows: Mapping[str, Any]) -> list[str]:
    """Of the simpler ways: how far behind what was chosen by latency they are, sample by sample."""
    found = []
    for name, row in rows.items():
        for rival in row["change_points"].keys() - {TEACHER, TEACHER_INT8}:
            value, low, high = row["change_points"][rival]
            found += ["", f"{name} against {rival}: {value:+.2f} [{low:+.2f}, {high:+.2f}] points."]
    return found


def _quantised(rows: Mapping[str, Any]) -> list[str]:
    """Of nets that went on under fake quantisation: why, and what they had on val by each way."""
    found = []
    for name, row in rows.items():
        val = row["int8"]["val_percent"]
        if "qat" in val:
            each = ", ".join(f"{way} {val[way]:.2f} %" for way in ("fp32", "ptq", "qat"))
            found.append(f"{name}: {row['int8']['why']}. Right on val: {each}.")
    return [line for sentence in found for line in ("", sentence)]
