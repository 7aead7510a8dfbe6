"""Choose the learning rate whose short run has most of val right."""

from __future__ import annotations

import json
from collections.abc import Mapping

from edgekd.distill.stages import ChooseRate
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact


def run(settings: ChooseRate, inputs: Mapping[str, Artifact], work: Work) -> None:
    """The lower one of two equals: a long run suffers more from too high a rate than from too low a one."""
    right = {rate: inputs[f"val.{rate:g}"].json("metrics.json")["right"] for rate in sorted(settings.rates)}
    best = max(right, key=right.__getitem__)
    n = next(iter(inputs.values())).json("metrics.json")["n"]
    told = {
        "schema": 1, "learning_rate": best,
        "val_percent": {f"{rate:g}": 100 * count / n for rate, count in right.items()},
    }  # fmt: skip
    (work.out / "decision.json").write_text(json.dumps(told, indent=1), "utf-8")
