"""Does PTQ keep the accuracy, or must training go on under quantisation? Decided on val, by the runtime's answers."""

from __future__ import annotations

import json
from collections.abc import Mapping

from edgekd.deploy.evaluate import correct
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.quant.stages import ChooseRecipe, NeedsQat
from edgekd.stats import paired_difference


def run(settings: NeedsQat, inputs: Mapping[str, Artifact], work: Work) -> None:
    _decide(settings, inputs, work, "PTQ", ("QAT runs", "no QAT needed"))


def run_more(settings: NeedsQat, inputs: Mapping[str, Artifact], work: Work) -> None:
    """The same of min-max and the other recipes."""
    _decide(settings, inputs, work, "min-max", ("other recipes are tried", "no other recipe needed"))


def _decide(settings: NeedsQat, inputs: Mapping[str, Artifact], work: Work, what: str, then: tuple[str, str]) -> None:
    change = paired_difference(correct(inputs["fp32"]), correct(inputs["ptq"]))
    needed = -change.value > settings.margin_points
    sentence = (
        f"{what} changes accuracy on val by {change.value:+.2f} points; "
        f"the margin is {settings.margin_points:g}: {then[0] if needed else then[1]}"
    )
    (work.out / "decision.json").write_text(json.dumps({"schema": 1, "qat": needed, "why": sentence}), "utf-8")


def run_recipe(settings: ChooseRecipe, inputs: Mapping[str, Artifact], work: Work) -> None:
    right = {name: int(correct(inputs[f"val.{name}"]).sum()) for name in settings.recipes}
    chosen = max(settings.recipes, key=lambda name: right[name])
    n = len(correct(inputs[f"val.{settings.recipes[0]}"]))
    told = ", ".join(f"{name} {100 * count / n:.2f} %" for name, count in right.items())
    decision = {"schema": 1, "recipe": chosen, "why": f"right on val (n {n}): {told}"}
    (work.out / "decision.json").write_text(json.dumps(decision), "utf-8")
