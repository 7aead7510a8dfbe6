"""A search as people read it: a table in Markdown, a plot, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.units import duration

WIDTH, HEIGHT, EDGE = 640, 360, 56


def markdown(search: Mapping[str, Any]) -> list[str]:
    alike = ", ".join(
        f"{name} {row['tau']:+.2f} (n {row['n']})" for name, row in search["agreement_with_params"].items()
    )
    names = list(search["shortlist"][0]["places"])
    lines = [
        f"## Search: {search['chosen']} of {search['candidates']} candidates, {search['measured']} measured",
        "",
        f"Ranked by {' and '.join(search['rank'])}; Kendall's tau with the number of parameters: {alike}.",
        "",
        "A candidate's place by each score, among all; its latency with random weights, measured; val after the "
        "first round. * : none is both faster and better on val there. Brackets are 95 % intervals.",
        "",
        f"| candidate | params | M MACs | {' | '.join(names)} | p50 ms | feasible | val, % |",
        f"|---|---|---|{'---|' * len(names)}---|---|---|",
    ]
    for row in search["shortlist"]:
        star = " *" if row["id"] in search["front"] else ""
        places = " | ".join(_place(row, name) for name in names)
        val = "" if row["val_percent"] is None else _ranged(row["val_percent"], 1)
        lines.append(
            f"| {row['id']}{star} | {row['params']:.0f} | {row['macs'] / 1e6:.2f} | {places} | "
            f"{_ranged(row['latency_p50_ms'], 3)} | {'yes' if row['feasible'] else 'no'} | {val} |"
        )
    for number, row in enumerate(search["rounds"], 1):
        lines += ["", f"Round {number}: {len(row['val_percent'])} students, {row['epochs']} epochs each."]
    said = [_covering(search), _noisy(search["noise"]), _costing(search), (search["worth"] or {}).get("sentence")]
    return [*lines, *(part for words in said if words for part in ("", words))]


def _place(row: Mapping[str, Any], score: str) -> str:
    if row[score] is None:
        return "undefined"
    best, worst = row["places_within"].get(score, (0, 0))
    return f"{row['places'][score]}" + (f" ({best} to {worst})" if best < worst else "")


def _ranged(interval: Sequence[float | None], digits: int) -> str:
    value, low, high = interval
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _covering(search: Mapping[str, Any]) -> str | None:
    found = search["hypervolume"]
    return found and (
        f"Hypervolume: {found['share']:.3f} of the box from 0 ms and 100 % to the teacher's "
        f"{found['reference_latency_p50_ms']:.3f} ms (fp32) and 0 %."
    )


def _noisy(found: Mapping[str, float]) -> str | None:
    each = ", ".join(f"{name} {share:.2f}" for name, share in found.items())
    if not found:
        return None
    return (
        f"Initialisation alone moves a score by this share of what candidates are apart: {each}. Places in brackets "
        "are those of a deviation more and one less."
    )


def _costing(search: Mapping[str, Any]) -> str | None:
    cost = search["cost"]
    if not cost:
        return None
    took = ", ".join(f"{name} {duration(seconds)}" for name, seconds in cost["seconds"].items() if seconds)
    if not cost["all_trained_s"]:
        return f"The search took {duration(cost['total_s'])}: {took}."
    return (
        f"The search took {duration(cost['total_s'])}: {took}. Distilling all {search['tried']} candidates would take "
        f"about {duration(cost['all_trained_s'])}, by the short distillations' time a multiply-accumulate and epoch: "
        f"{cost['times_less']:.0f} times as long."
    )


def plot(search: Mapping[str, Any]) -> str:
    """SVG: latency against val of what was distilled, the front as a line; the chosen one named."""
    rows = [row for row in search["shortlist"] if row["val_percent"] is not None]
    if not rows:
        return '<svg xmlns="http://www.w3.org/2000/svg"/>\n'
    across = _scale([row["latency_p50_ms"][0] for row in rows], EDGE, WIDTH - 20)
    up = _scale([row["val_percent"][0] for row in rows], HEIGHT - EDGE, 20)
    spots = {row["id"]: (across(row["latency_p50_ms"][0]), up(row["val_percent"][0])) for row in rows}
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (spots[name] for name in search["front"]))
    marks = [f'<polyline points="{line}" fill="none" stroke="#999"/>']
    marks += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#4477aa"/>' for x, y in spots.values()]
    x, y = spots.get(search["chosen"], (EDGE, 20))
    marks.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}">{search["chosen"]}</text>')
    for row in (min(rows, key=lambda r: r["latency_p50_ms"][0]), max(rows, key=lambda r: r["latency_p50_ms"][0])):
        value = row["latency_p50_ms"][0]
        marks.append(f'<text x="{across(value):.1f}" y="{HEIGHT - 24}" text-anchor="middle">{value:.3f} ms</text>')
    for value in {min(row["val_percent"][0] for row in rows), max(row["val_percent"][0] for row in rows)}:
        marks.append(f'<text x="4" y="{up(value) + 4:.1f}">{value:.1f} %</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
        f'font-size="12">\n' + "\n".join(marks) + "\n</svg>\n"
    )


def _scale(values: Sequence[float], start: float, end: float) -> Any:
    low, high = min(values), max(values)
    return lambda value: start + (end - start) * ((value - low) / (high - low) if high > low else 0.5)
