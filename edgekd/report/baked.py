"""A bake-off as a table and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

STARTS = {"fresh": "with fresh weights", "teacher": "from the teacher's blocks, those of the random teacher too"}
ROW, LEFT, WIDTH = 24, 180, 720  # pixels of the picture


def markdown(told: Mapping[str, Any]) -> str:
    n, asked = told["n"], told["asked"]
    lines = [
        f"Teacher: {told['teacher_accuracy_percent']:.2f} % on {n['test']} test images. "
        f"Students train on {n['train']} images, of which the teacher saw {asked['kept']['views']} views each, once "
        f"for all. They start {STARTS[told['start']]}.",
        "",
        f"First round: {asked['epochs']} epochs, {asked['seeds']} seed(s), % on {n['val']} val images, which chose the "
        "rates and the finalists.",
        "",
        *_grid(told["grid"]),
    ]
    if told["final"]:
        lines += [
            "",
            f"Second round{_of_another(asked)}: {asked['final_epochs']} epochs at the best rate, on {n['test']} test "
            "images; 95 % intervals of the difference over paired seeds.",
            "",
            *_final(told["final"]),
        ]
    for run in told["diverged"]:
        lines += ["", f"{run}: its loss became no number, and it counts nowhere above."]
    if told["left"]:
        lines += ["", f"{told['left']} runs are still to come: the same command goes on."]
    return "\n".join(lines) + "\n"


def _of_another(asked: Mapping[str, Any]) -> str:
    other = asked.get("final_student")
    return f", of another student ({len(other['widths'])} blocks)" if other and other != asked["student"] else ""


def _grid(grid: Mapping[str, Any]) -> list[str]:
    rates = sorted({rate for row in grid.values() for rate in row["val_percent"]}, key=float)
    lines = [
        f"| recipe | {' | '.join(f'rate {rate}' for rate in rates)} | best rate |",
        "|---" * (len(rates) + 2) + "|",
    ]
    best = {arm: max(row["val_percent"].values()) for arm, row in grid.items()}
    for arm in sorted(grid, key=lambda arm: -best[arm]):
        cells = [_cell(grid[arm], rate) for rate in rates]
        chosen = grid[arm]["best_rate"]
        lines.append(f"| {arm} | {' | '.join(cells)} | {'' if chosen is None else f'{chosen:g}'} |")
    return lines


def _cell(row: Mapping[str, Any], rate: str) -> str:
    if rate in row["diverged"]:
        return "no number"
    return f"{row['val_percent'][rate]:.2f}" if rate in row["val_percent"] else ""


def _final(final: Mapping[str, Any]) -> list[str]:
    lines = [
        "| recipe | rate | seeds | accuracy % | over cross-entropy, points | over kd | over a random teacher | ECE | "
        "NLL | agrees with teacher |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for arm in ranked(final):
        row, mean = final[arm], final[arm]["mean"]
        gains = [_gain(row["against"].get(name)) for name in ("cross-entropy", "kd", "random-teacher")]
        lines.append(
            f"| {arm} | {row['rate']:g} | {len(row['runs'])} | {mean['accuracy_percent']:.2f} | {' | '.join(gains)} | "
            f"{mean['ece']:.3f} | {mean['nll']:.3f} | {100 * mean['agreement']:.1f} % |"
        )
    return lines


def ranked(final: Mapping[str, Any]) -> list[str]:
    """By mean accuracy, the best first."""
    return sorted(final, key=lambda arm: -final[arm]["mean"]["accuracy_percent"])


def _gain(against: Mapping[str, Any] | None) -> str:
    if against is None:
        return ""
    value, low, high = against["points"]
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def plot(told: Mapping[str, Any]) -> str:
    """SVG: a dot a seed and a bar at the mean of the second round; of the first, a dot a rate."""
    final = {
        arm: [run["accuracy_percent"] for run in told["final"][arm]["runs"]] for arm in ranked(told["final"])
    } or {
        arm: list(row["val_percent"].values())
        for arm, row in sorted(told["grid"].items(), key=lambda item: -max(item[1]["val_percent"].values()))
    }  # fmt: skip
    values = [value for row in final.values() for value in row]
    if not values:
        return '<svg xmlns="http://www.w3.org/2000/svg"/>\n'
    low, high = min(values) - 0.5, max(values) + 0.5

    def x(value: float) -> float:
        return float(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - 20))

    marks = []
    for number, (arm, row) in enumerate(final.items()):
        y, mean = ROW * (number + 1), sum(row) / len(row)
        marks.append(f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(arm)}</text>')
        marks += [f'<circle cx="{x(value):.1f}" cy="{y}" r="4" fill="#4477aa" fill-opacity="0.6"/>' for value in row]
        marks.append(f'<path d="M{x(mean):.1f} {y - 8}v16" stroke="#222" stroke-width="2"/>')
    bottom = ROW * (len(final) + 1)
    marks += [
        f'<text x="{x(value):.1f}" y="{bottom + 12}" text-anchor="middle">{value:.1f} %</text>'
        for value in (low, (low + high) / 2, high)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom + 24}" font-family="sans-serif" '
        f'font-size="12">\n' + "\n".join(marks) + "\n</svg>\n"
    )
