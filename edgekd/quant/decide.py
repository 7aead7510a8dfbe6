"""Does PTQ keep the accuracy, or must training go on under quantisation? Decided on val, by the runtime's answers."""

from __future__ import annotations

import json
from collections.abc import Mapping

from edgekd.deploy.evaluate import correct
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.quant.stages import NeedsQat
from edgekd.stats import paired_difference


def run(settings: NeedsQat, inputs: Mapping[str, Artifact], work: Work) -> None:
    change = paired_difference(correct(inputs["fp32"]), correct(inputs["ptq"]))
    needed = -change.value > settings.margin_points
    sentence = (
        f"PTQ changes accuracy on val by {change.value:+.2f} points; "
        f"the margin is {settings.margin_points:g}: {'QAT runs' if needed else 'no QAT needed'}"
    )
    (work.out / "decision.json").write_text(json.dumps({"schema": 1, "qat": needed, "why": sentence}), "utf-8")
