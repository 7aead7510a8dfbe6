"""From scores to a shortlist, from its latencies to what is feasible, and from that to one student: decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.budget import Budget, State, worst
from edgekd.deploy.verdicts import latency_and_size
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import BudgetError
from edgekd.hardware.measure import result
from edgekd.hardware.profile import Limits
from edgekd.models.shape import shape_of
from edgekd.search.limits import broken
from edgekd.search.stages import Choose, Feasible, RankName, Round, Shortlist

FILE = "candidates.json"
GRAPH_BYTES = 20_000  # of an int8 ONNX file beside its weights, at the least


def run_shortlist(settings: Shortlist, inputs: Mapping[str, Artifact], work: Work) -> None:
    scores = inputs["scores"].json("scores.json")
    able = [c for c in scores["candidates"] if not _broken(c, scores["image"], settings.limits)]
    able = [c for c in able if settings.target is None or c["keeps"][settings.target]] or able
    if not able:
        first = scores["candidates"][0]
        raise BudgetError(
            f"search: the device can run none of {len(scores['candidates'])} candidates: the first has "
            f"{_broken(first, scores['image'], settings.limits)}; widen or change search.space"
        )
    roomy = settings.budget.with_headroom(settings.headroom)
    within = _within(able, scores["teacher"], roomy) or _within(able, scores["teacher"], settings.budget)
    if not within:
        smallest = min(able, key=lambda c: c["scores"]["macs"])
        raise BudgetError(
            f"search: none of {len(able)} candidates can meet the budget: the smallest has "
            f"{over_bounds(smallest, scores['teacher'], settings.budget)}; loosen the budget or widen search.space"
        )
    best = by_mean_rank(within, settings.rank)[: settings.measure]
    chosen = [{"id": c["id"], "shape": c["shape"], "scores": c["scores"]} for c in best]
    _write(chosen, work)


def run_feasible(settings: Feasible, inputs: Mapping[str, Artifact], work: Work) -> None:
    comparison = result.read(inputs["comparison"])
    rows = {c["id"]: c for c in inputs["shortlist"].json(FILE)["candidates"]}
    names = list(rows)

    def states(budget: Budget) -> dict[str, State]:
        return {name: worst(latency_and_size(budget, comparison, name)) for name in names}

    roomy, real = states(settings.budget.with_headroom(settings.headroom)), states(settings.budget)
    feasible = (
        [n for n in names if roomy[n] == "pass"]
        or [n for n in names if real[n] == "pass"]
        or [n for n in names if real[n] == "inconclusive"]
    )
    if not feasible:
        fastest = min(names, key=lambda name: comparison.models[name].latency_p50_ms.value)
        verdicts = latency_and_size(settings.budget, comparison, fastest)
        failed = "; ".join(str(v) for v in verdicts if v.state == "fail")
        raise BudgetError(
            f"search: none of the {len(names)} measured candidates meets the budget; the fastest, {fastest}: {failed}. "
            "Loosen the budget, widen search.space, or raise search.measure"
        )
    _write([rows[name] for name in feasible], work)


def run_round(settings: Round, inputs: Mapping[str, Artifact], work: Work) -> None:
    """The best on val, the earlier one where they tie; `tried` says it of all, in percent of `n` images."""
    told = {name.removeprefix("val."): a.json("metrics.json") for name, a in inputs.items() if name.startswith("val.")}
    share = {name: 100 * row["right"] / row["n"] for name, row in told.items()}
    rows = [row for row in inputs["candidates"].json(FILE)["candidates"] if row["id"] in share]
    best = sorted(rows, key=lambda row: -share[row["id"]])[: settings.keep]
    tried = {row["id"]: share[row["id"]] for row in rows}
    _write(best, work, epochs=settings.epochs, tried=tried, n=next(iter(told.values()))["n"])


def run_choose(_: Choose, inputs: Mapping[str, Artifact], work: Work) -> None:
    best = inputs["candidates"].json(FILE)["candidates"][0]
    (work.out / "shape.json").write_text(json.dumps(best["shape"]), "utf-8")
    (work.out / "decision.json").write_text(json.dumps({"schema": 1, "student": best["id"]}), "utf-8")


def _write(rows: Sequence[Mapping[str, Any]], work: Work, **more: Any) -> None:
    """Candidates in order, the best first."""
    (work.out / FILE).write_text(json.dumps({"schema": 1, "candidates": rows, **more}, indent=1), "utf-8")


def _broken(candidate: Mapping[str, Any], image: Sequence[int], limits: Limits) -> str:
    shape = shape_of(candidate["shape"])
    return broken(shape, image, limits, candidate["scores"]["params"])


def _within(candidates: Sequence[dict[str, Any]], teacher: Mapping[str, Any], budget: Budget) -> list[dict[str, Any]]:
    return [c for c in candidates if not over_bounds(c, teacher, budget)]


def over_bounds(candidate: Mapping[str, Any], teacher: Mapping[str, Any], budget: Budget) -> str:
    """
    Why a candidate cannot meet the budget, before anything is measured; empty where it may.

    Both bounds are first-order: int8 weights take a byte each, and in one runtime and dialect a net with more
    MACs per second than the teacher is not expected among nets that are smaller than the teacher.
    """
    scores = candidate["scores"]
    ratio = budget.speedup_over_teacher_int8
    if ratio and teacher["macs"] is not None and scores["macs"] * ratio > teacher["macs"]:
        return f"{scores['macs'] / 1e6:.2f} M MACs, more than the teacher's {teacher['macs'] / 1e6:.2f} M / {ratio:g}"
    size = scores["params"] + GRAPH_BYTES
    if (ratio := budget.shrink_over_teacher) and size * ratio > 4 * teacher["params"]:
        return (
            f"about {size / 1e3:.0f} kB as int8, more than the teacher's {teacher['params'] / 250:.0f} kB / {ratio:g}"
        )
    if budget.size_mib and size > budget.size_mib * 2**20:
        return f"about {size / 2**20:.3f} MiB as int8, over {budget.size_mib:g} MiB"
    return ""


def placed(candidates: Sequence[Mapping[str, Any]], score: str) -> dict[str, int]:
    """Each candidate's place by this score, from 1; equals share one, and where it is not defined the last."""
    values = {c["id"]: c["scores"][score] for c in candidates}
    defined = sorted({v for v in values.values() if v is not None}, reverse=True)
    place = {value: number for number, value in enumerate(defined, 1)}
    return {key: place[value] if value is not None else len(defined) + 1 for key, value in values.items()}


def by_mean_rank(candidates: Sequence[dict[str, Any]], scores: Sequence[RankName]) -> list[dict[str, Any]]:
    """
    Best first, by the mean of the ranks that the named scores give; ties go to fewer MACs.

    Ranks and no sums: the scales of scores differ by orders of magnitude. Where a score is not defined, the
    candidate takes its last rank.
    """
    places = [placed(candidates, name) for name in scores]
    total = {c["id"]: sum(place[c["id"]] for place in places) for c in candidates}
    return sorted(candidates, key=lambda c: (total[c["id"]], c["scores"]["macs"], c["id"]))
