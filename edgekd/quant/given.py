"""int8 of a model that came as an ONNX file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np

from edgekd.data import signature
from edgekd.data.dataset import Dataset
from edgekd.data.feeds import feeds
from edgekd.deploy import reference
from edgekd.deploy.given import float_answers
from edgekd.deploy.reference import Reference
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.quant.onnx_ptq import quantise, quantise_dynamic, see_ranges
from edgekd.quant.stages import Adjustment, DynamicGiven, PtqGiven, Recipe, SeeRanges, Toolchain
from edgekd.toolchains.call import call

RANGES = "ranges.json"


def run(settings: PtqGiven, inputs: Mapping[str, Artifact], work: Work) -> None:
    if settings.recipe in get_args(Toolchain):
        _write(inputs["hub"], work, lambda out: by_neural_compressor(settings, inputs, out))
        return
    hub, seen = inputs["hub"], inputs.get("ranges")
    ranges = seen.file(RANGES) if seen else None
    shown = shown_of(inputs, settings.samples) if seen is None else {}
    model, dialect = hub.file("model.onnx"), settings.dialect
    _write(hub, work, lambda out: quantise(model, shown, dialect, out, ranges=ranges, **parts(settings.recipe)))


def run_ranges(settings: SeeRanges, inputs: Mapping[str, Artifact], work: Work) -> None:
    see_ranges(inputs["hub"].file("model.onnx"), shown_of(inputs, settings.samples), work.out / RANGES)


def by_neural_compressor(settings: PtqGiven, inputs: Mapping[str, Artifact], out: Path) -> None:
    """onnx-neural-compressor's static QDQ: uint8 activations, int8 weights by channel, which is one dialect alone."""
    with tempfile.TemporaryDirectory() as folder:
        feeds = Path(folder) / "feeds.npz"
        np.savez(feeds, **shown_of(inputs, settings.samples))
        model = inputs["hub"].file("model.onnx").resolve()
        asked = {"model": str(model), "out": str(out.resolve()), "feeds": str(feeds), "calibration": "MinMax"}
        call("neural-compressor", "neural_compressor", asked | {"reduced_range": settings.dialect.reduced_range})


def shown_of(inputs: Mapping[str, Artifact], samples: int) -> dict[str, Any]:
    """What the model reads of the first training samples, an array an input."""
    some = Dataset(inputs["data"]).some("train", samples)
    return dict(feeds(some, signature.read(inputs["hub"].path).inputs))


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
