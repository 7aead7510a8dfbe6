"""What a search found: every score's rank of every candidate, what was measured, what short distillations reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.engine.store import Artifact
from edgekd.hardware.measure import result
from edgekd.search.choose import by_mean_rank, placed
from edgekd.search.ranking import better_than, tau

ENOUGH = 12  # short distillations, below which nothing is said of a score
OF_A_SAMPLE = {"latency_kind": "none", "why": "not among the best by score within the bounds of MACs and size"}
OF_A_STUDY = {"latency_kind": "measured", "why": "in a batch of the study; those of the table were measured once more"}
WIDTH, HEIGHT, EDGE = 640, 360, 56


def told_of(inputs: Mapping[str, Artifact], rank: Sequence[str]) -> dict[str, Any]:
    """Everything as JSON. `inputs` are those of a report: scores, shortlist, candidates, feasible, round.*, choice."""
    scores = inputs["scores"].json("scores.json")
    measured = result.read(inputs["candidates"])
    shortlist = [row["id"] for row in inputs["shortlist"].json("candidates.json")["candidates"]]
    feasible = {row["id"] for row in inputs["feasible"].json("candidates.json")["candidates"]}
    by_id = {c["id"]: c for c in scores["candidates"]}
    places = {name: placed(scores["candidates"], name) for name in scores["candidates"][0]["scores"]}
    rounds = [inputs[name].json("candidates.json") for name in sorted(inputs) if name.startswith("round.")]
    best = rounds[0]["tried"] if rounds else {}  # of the first round alone, which all had as many epochs
    chosen = inputs["choice"].json("decision.json")["student"]
    rows = [
        {
            "id": name, **by_id[name]["scores"],
            "places": {score: row[name] for score, row in places.items()},
            "latency_p50_ms": list(measured.models[name].latency_p50_ms), "latency_kind": "measured",
            "feasible": name in feasible, "val_percent": best.get(name),
        }
        for name in shortlist
    ]  # fmt: skip
    return {
        "candidates": len(scores["candidates"]),
        "measured": len(shortlist),
        "tried": scores.get("tried", len(scores["candidates"])),  # of a study, with those that kept no bound
        "others": OF_A_STUDY if "tried" in scores else OF_A_SAMPLE,
        "rank": list(rank),
        "chosen": chosen,
        "shape": inputs["choice"].json("shape.json"),
        "teacher": scores["teacher"],
        "agreement_with_params": agreement(scores["candidates"]),
        "shortlist": rows,
        "front": front(rows),
        "rounds": [{"epochs": row["epochs"], "val_percent": row["tried"]} for row in rounds],
        "worth": worth(rounds[0]["tried"], by_id, rank) if rounds else None,
    }


def agreement(candidates: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Kendall's tau of every score with the number of parameters, over the candidates where it is defined."""
    found = {}
    for name in candidates[0]["scores"]:
        pairs = [(c["scores"][name], c["scores"]["params"]) for c in candidates if c["scores"][name] is not None]
        if name != "params" and len(pairs) > 2:
            found[name] = {"tau": round(tau(*zip(*pairs, strict=True)), 3), "n": len(pairs)}
    return found


def front(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of those that were distilled, the ones that none beats on both latency and val; the fastest first."""
    found: list[str] = []
    best = -1.0
    tried = [row for row in rows if row["val_percent"] is not None]
    for row in sorted(tried, key=lambda row: (row["latency_p50_ms"][0], -row["val_percent"])):
        if row["val_percent"] > best:
            found.append(row["id"])
            best = row["val_percent"]
    return found


def worth(tried: Mapping[str, float], by_id: Mapping[str, Mapping[str, Any]], rank: Sequence[str]) -> dict[str, Any]:
    """Whether the ranking ordered what was distilled better than the number of parameters does."""
    rows = [dict(by_id[name]) for name in tried]
    order = [row["id"] for row in by_mean_rank(rows, tuple(rank))]  # type: ignore[arg-type]
    own = [-float(order.index(name)) for name in tried]
    params = [float(by_id[name]["scores"]["params"]) for name in tried]
    reached = list(tried.values())
    words, ours, theirs, difference = "", 0.0, 0.0, None
    if len(tried) >= ENOUGH:
        ours, theirs, difference = better_than(own, params, reached)
        said = (
            "better than" if difference.low > 0 else "worse than" if difference.high < 0 else "not told apart from"
        )  # fmt: skip
        words = (
            f"Over {len(tried)} short distillations on val, {' and '.join(rank)} orders students {said} the number of "
            f"parameters on this space: Kendall's tau {ours:+.2f} against {theirs:+.2f}, difference "
            f"{difference.value:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]."
        )
    else:
        words = (
            f"{len(tried)} short distillations are too few to say whether {' and '.join(rank)} is better than the "
            f"number of parameters on this space; {ENOUGH} are asked for (search.race.students)."
        )
    return {"n": len(tried), "sentence": words, "tau": ours, "tau_params": theirs,
            "difference": list(difference) if difference else None}  # fmt: skip


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
        "first round. * : none is both faster and better on val there.",
        "",
        f"| candidate | params | M MACs | {' | '.join(names)} | p50 ms | feasible | val, % |",
        f"|---|---|---|{'---|' * len(names)}---|---|---|",
    ]
    for row in search["shortlist"]:
        star = " *" if row["id"] in search["front"] else ""
        places = " | ".join("undefined" if row[name] is None else str(row["places"][name]) for name in names)
        val = "" if row["val_percent"] is None else f"{row['val_percent']:.1f}"
        lines.append(
            f"| {row['id']}{star} | {row['params']:.0f} | {row['macs'] / 1e6:.2f} | {places} | "
            f"{row['latency_p50_ms'][0]:.3f} | {'yes' if row['feasible'] else 'no'} | {val} |"
        )
    for number, row in enumerate(search["rounds"], 1):
        lines += ["", f"Round {number}: {len(row['val_percent'])} students, {row['epochs']} epochs each."]
    return [*lines, *(["", search["worth"]["sentence"]] if search["worth"] else [])]


def plot(search: Mapping[str, Any]) -> str:
    """SVG: latency against val of what was distilled, the front as a line; the chosen one named."""
    rows = [row for row in search["shortlist"] if row["val_percent"] is not None]
    if not rows:
        return '<svg xmlns="http://www.w3.org/2000/svg"/>\n'
    across = _scale([row["latency_p50_ms"][0] for row in rows], EDGE, WIDTH - 20)
    up = _scale([row["val_percent"] for row in rows], HEIGHT - EDGE, 20)
    spots = {row["id"]: (across(row["latency_p50_ms"][0]), up(row["val_percent"])) for row in rows}
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (spots[name] for name in search["front"]))
    marks = [f'<polyline points="{line}" fill="none" stroke="#999"/>']
    marks += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#4477aa"/>' for x, y in spots.values()]
    x, y = spots.get(search["chosen"], (EDGE, 20))
    marks.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}">{search["chosen"]}</text>')
    for row in (min(rows, key=lambda r: r["latency_p50_ms"][0]), max(rows, key=lambda r: r["latency_p50_ms"][0])):
        value = row["latency_p50_ms"][0]
        marks.append(f'<text x="{across(value):.1f}" y="{HEIGHT - 24}" text-anchor="middle">{value:.3f} ms</text>')
    for value in {min(row["val_percent"] for row in rows), max(row["val_percent"] for row in rows)}:
        marks.append(f'<text x="4" y="{up(value) + 4:.1f}">{value:.1f} %</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
        f'font-size="12">\n' + "\n".join(marks) + "\n</svg>\n"
    )


def _scale(values: Sequence[float], start: float, end: float) -> Any:
    low, high = min(values), max(values)
    return lambda value: start + (end - start) * ((value - low) / (high - low) if high > low else 0.5)
