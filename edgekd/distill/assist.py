"""Choose an assistant by what it keeps for its size."""

from __future__ import annotations

import json
from collections.abc import Mapping

from edgekd.distill.stages import ChooseAssistant
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.models.shape import parameters


def run(settings: ChooseAssistant, inputs: Mapping[str, Artifact], work: Work) -> None:
    """The smallest within a point of the best on val, after short runs: the nearest to the student that still knows."""
    told = [inputs[f"val.{number}"].json("metrics.json") for number in range(len(settings.candidates))]
    share = [100 * row["right"] / row["n"] for row in told]
    good = [number for number, value in enumerate(share) if value >= max(share) - settings.margin_points]
    best = min(good, key=lambda number: parameters(settings.candidates[number]))
    (work.out / "shape.json").write_text(settings.candidates[best].model_dump_json(), "utf-8")
    rows = [
        {"parameters": parameters(shape), "val_percent": value}
        for shape, value in zip(settings.candidates, share, strict=True)
    ]
    decision = {"schema": 1, "student": f"assistant {best + 1}", "candidates": rows}
    (work.out / "decision.json").write_text(json.dumps(decision, indent=1), "utf-8")
