"""What a search found: every score's rank of every candidate, what was measured, what short distillations reached."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.budget import TEACHER
from edgekd.engine.store import Artifact
from edgekd.hardware.measure import result
from edgekd.search.choose import by_mean_rank, placed
from edgekd.search.ranking import better_than, tau
from edgekd.search.studies.pareto import hypervolume
from edgekd.stats import proportion_interval

ENOUGH = 12  # short distillations, below which nothing is said of a score
OF_A_SAMPLE = {"latency_kind": "none", "why": "not among the best by score within the bounds of MACs and size"}
IN_A_STUDY = "in a batch of the study; those of the table were measured once more"
FROM_A_TABLE = "from the device's table (search.tables), brought to medians by nets that were measured"


def told_of(
    inputs: Mapping[str, Artifact], rank: Sequence[str], cost: Mapping[str, Any] | None, target: str
) -> dict[str, Any]:
    """
    Everything as JSON. `inputs` are those of a report: scores, shortlist, candidates, feasible, round.*, choice; `cost`
    is what edgekd.spending said of the search.
    """
    scores = inputs["scores"].json("scores.json")
    measured = result.read(inputs["candidates"])
    listed = inputs["shortlist"].json("candidates.json")["candidates"]
    feasible = {row["id"] for row in inputs["feasible"].json("candidates.json")["candidates"]}
    scored = [row for row in listed if "scores" in row]  # a replay's shortlist is of another study
    by_id = {c["id"]: c for c in (*scored, *scores["candidates"])}
    everyone = list(by_id.values())
    places = {name: placed(everyone, name) for name in everyone[0]["scores"]}
    rounds = [inputs[name].json("candidates.json") for name in sorted(inputs) if name.startswith("round.")]
    best = _of_the_first(rounds)
    chosen = inputs["choice"].json("decision.json")["student"]
    rows = [
        {
            "id": name, **by_id[name]["scores"],
            "places": {score: row[name] for score, row in places.items()},
            "places_within": within(by_id[name], everyone),
            "latency_p50_ms": list(measured.models[name].latency_p50_ms), "latency_kind": "measured",
            "feasible": name in feasible, "val_percent": best.get(name), "noise": by_id[name].get("noise", {}),
        }
        for name in (row["id"] for row in listed)
    ]  # fmt: skip
    return {
        "candidates": len(scores["candidates"]),
        "measured": len(listed),
        "tried": scores.get("tried", len(scores["candidates"])),  # of a study, with those that kept no bound
        "others": _others(scores, target),
        "rank": list(rank),
        "chosen": chosen,
        "shape": inputs["choice"].json("shape.json"),
        "teacher": scores["teacher"],
        "agreement_with_params": agreement(scores["candidates"]),
        "shortlist": rows,
        "front": front(rows),
        "hypervolume": covered(rows, measured.models[TEACHER].latency_p50_ms.value),
        "noise": noise(scores["candidates"]),
        "rounds": [{"epochs": row["epochs"], "n": row.get("n"), "val_percent": row["tried"]} for row in rounds],
        "cost": cost,
        "worth": worth(rounds[0]["tried"], by_id, rank) if rounds else None,
    }


def _of_the_first(rounds: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """Val with its interval, of the first round alone: all of it had as many epochs."""
    if not rounds:
        return {}
    n = rounds[0].get("n")
    if n is None:  # a lock of before it was written there
        return {name: [share, None, None] for name, share in rounds[0]["tried"].items()}
    return {name: list(proportion_interval(round(share * n / 100), n)) for name, share in rounds[0]["tried"].items()}


def _others(scores: Mapping[str, Any], target: str) -> Mapping[str, str]:
    """How this target's latencies are known of those that are not in the table of the shortlist."""
    if "tried" not in scores:
        return OF_A_SAMPLE
    kinds = {row["latency_kind"][target] for row in scores["candidates"]}
    if "predicted" not in kinds:
        return {"latency_kind": "measured", "why": IN_A_STUDY}
    beyond = "; what it does not reach to was measured" if "measured" in kinds else ""
    return {"latency_kind": "predicted", "why": FROM_A_TABLE + beyond}


def noise(candidates: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """
    What initialisation alone does to a score, of how far candidates are apart by it: the median of the candidates'
    deviations over the deviation of their means. Empty where each had one initialisation.
    """
    found = {}
    for name in candidates[0]["scores"]:
        means = [c["scores"][name] for c in candidates if c["scores"][name] is not None]
        own = [c["noise"][name] for c in candidates if name in c.get("noise", {})]
        if len(means) > 1 and own and (apart := statistics.stdev(means)) > 0:
            found[name] = round(statistics.median(own) / apart, 4)
    return found


def within(candidate: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """
    The places that a candidate would have by each score with one deviation over its initialisations more, and with one
    less, the others at their means. Only of scores that have a deviation.
    """
    found = {}
    for name, own in candidate.get("noise", {}).items():
        others = {c["scores"][name] for c in candidates if c["id"] != candidate["id"]} - {None}
        mean = candidate["scores"][name]
        found[name] = [1 + sum(each > mean + sign * own for each in others) for sign in (1, -1)]
    return found


def covered(rows: Sequence[Mapping[str, Any]], teacher_ms: float) -> dict[str, float] | None:
    """Hypervolume of what was distilled: a share of the box from 0 ms and 100 % to the teacher's float file and 0 %."""
    points = [(row["latency_p50_ms"][0], row["val_percent"][0]) for row in rows if row["val_percent"] is not None]
    if not points:
        return None
    volume = hypervolume(points, ("minimise", "maximise"), (teacher_ms, 0.0))
    return {"share": volume / (100 * teacher_ms), "reference_latency_p50_ms": teacher_ms}


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
    for row in sorted(tried, key=lambda row: (row["latency_p50_ms"][0], -row["val_percent"][0])):
        if row["val_percent"][0] > best:
            found.append(row["id"])
            best = row["val_percent"][0]
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
