"""int8 of a model that came as an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from edgekd.data import signature
from edgekd.data.dataset import Dataset
from edgekd.data.feeds import feeds
from edgekd.deploy import reference
from edgekd.deploy.given import float_answers
from edgekd.deploy.reference import Reference
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.quant.onnx_ptq import quantise, quantise_dynamic
from edgekd.quant.stages import Adjustment, DynamicGiven, PtqGiven, Recipe


def run(settings: PtqGiven, inputs: Mapping[str, Artifact], work: Work) -> None:
    hub = inputs["hub"]
    some = Dataset(inputs["data"]).some("train", settings.samples)
    shown = feeds(some, signature.read(hub.path).inputs)
    _write(
        hub,
        work,
        lambda out: quantise(hub.file("model.onnx"), shown, settings.dialect, out, **parts(settings.recipe)),
    )


def parts(recipe: Recipe) -> Any:
    """`method` and `adjust` of a recipe."""
    return {"method": "min-max", "adjust": recipe} if recipe in get_args(Adjustment) else {"method": recipe}


def run_dynamic(settings: DynamicGiven, inputs: Mapping[str, Artifact], work: Work) -> None:
    hub = inputs["hub"]
    _write(hub, work, lambda out: quantise_dynamic(hub.file("model.onnx"), settings.dialect, out))


def _write(hub: Artifact, work: Work, make: Callable[[Path], None]) -> None:
    """A hub of its own: the graph, its signature, what its own arithmetic answers and what the float graph did."""
    path = work.out / "model.onnx"
    make(path)
    known = reference.read(hub.file(reference.FILE))
    answers = float_answers(path, known.feeds)
    reference.write(Reference(known.feeds, answers, known.answers), work.out)
    signature.write(signature.read(hub.path), work.out)
