"""Which file of an encoder ships: the fastest that keeps the budget, decided on val and on one comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from edgekd.budget import TEACHER, TEACHER_INT8, Verdict
from edgekd.deploy import select_compiled
from edgekd.deploy.select import Ranked, ranked
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.hardware.measure import result
from edgekd.hardware.measure.result import Comparison
from edgekd.text import evaluate, judged
from edgekd.text.stages import SelectCompiledText, SelectText


def run(settings: SelectText, inputs: Mapping[str, Artifact], work: Work) -> None:
    """Writes the name of the variant alone: its figures stay with the observations that they are from."""
    chosen = rank(settings, inputs)[0].name
    (work.out / "decision.json").write_text(json.dumps({"schema": 1, "variant": chosen}), "utf-8")


def rank(settings: SelectText, inputs: Mapping[str, Artifact]) -> list[Ranked]:
    teacher = evaluate.read(inputs[f"val.{settings.base}"])

    def lost(name: str) -> list[Verdict]:
        return judged.quality(settings.budget, evaluate.read(inputs[f"val.{name}"]), teacher)

    return ranked(settings, inputs, held_against(result.read(inputs["comparison"]), settings.teachers), lost)


def run_compiled(settings: SelectCompiledText, inputs: Mapping[str, Artifact], work: Work) -> None:
    select_compiled.decide(rank_compiled(settings, inputs)[0], work)


def rank_compiled(settings: SelectCompiledText, inputs: Mapping[str, Artifact]) -> list[select_compiled.Ranked]:
    teacher = evaluate.read(inputs[f"val.{TEACHER}"])

    def lost(name: str) -> list[Verdict]:
        return judged.quality(settings.budget, evaluate.read(inputs[f"val.{name}"]), teacher)

    return select_compiled.ranked(settings, inputs, lost)


def held_against(comparison: Comparison, teachers: Sequence[str]) -> Comparison:
    """The comparison in which the teacher's fastest file stands as TEACHER_INT8, whatever it is."""
    over = comparison.speedup_over
    return comparison.model_copy(update={"speedup_over": over | {TEACHER_INT8: over[best(comparison, teachers)]}})


def best(comparison: Comparison, teachers: Sequence[str]) -> str:
    """
    The fastest of the teacher's files, by the measurement that it is then a base of: which flatters the teacher, if
    anybody.
    """
    over = comparison.speedup_over[TEACHER]
    return max(teachers, key=lambda name: 1.0 if name == TEACHER else over[name].value)
