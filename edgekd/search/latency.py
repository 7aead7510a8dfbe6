"""The latency of shapes that nobody has trained: their graphs, with random weights, in the device's runtimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from edgekd.data import signature
from edgekd.data.signature import fixed_shape
from edgekd.data.stages import Preprocess
from edgekd.deploy import exporter, hub
from edgekd.deploy.exporter import Deployable
from edgekd.engine.events import Progress
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.measure.compare import Model, observe
from edgekd.hardware.measure.result import Comparison
from edgekd.hardware.profile import Measuring
from edgekd.hardware.runtime import Tensor
from edgekd.hardware.specs import Runnable
from edgekd.models.shape import NetShape
from edgekd.search.graph import written

# of a screening: a candidate that is off by a few per cent is measured again before it ships
QUICKLY = Measuring(processes=3, openings=2, rounds=50, time_s=20.0, warmup_runs=5)


def as_model(
    shape: NetShape,
    labels: Sequence[str],
    image: tuple[int, int, int],
    preprocess: Preprocess,
    runtime: Runnable,
    cpu: Cpu,
    folder: Path,
    *,
    quantised: bool = True,
) -> Model:
    """A file of this shape in `folder`, as this runtime reads it: int8 in its dialect, or float32."""
    folder.mkdir(parents=True)
    graph = written(shape, image, len(labels), runtime.dialect.on(cpu) if quantised else None)
    if preprocess.inside:
        hub.normalise_inside(graph, preprocess, image)
    onnx.save(graph, folder / "hub.onnx")
    described = signature.of_images(image, list(labels), preprocess)
    deployable = Deployable(folder / "hub.onnx", folder / "none", described, {}, trained=False)
    made = exporter.find(runtime.exporter).write(deployable, runtime, folder)
    inputs = {spec.name: Tensor(spec.name, spec.dtype, fixed_shape(spec, 1)) for spec in made.signature.inputs}
    return Model(folder / made.entry, runtime, inputs)


def compared(models: Mapping[str, Model], measuring: Measuring, progress: Progress) -> Comparison:
    """All of them in the same fresh processes; ratios are over the first."""
    return observe(models, measuring, list(models)[:1], progress)
