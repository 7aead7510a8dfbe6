"""The latency of shapes that nobody has trained: their graphs, with random weights, in the device's runtimes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from edgekd.data import signature
from edgekd.data.dataset import Dataset
from edgekd.data.signature import fixed_shape
from edgekd.data.stages import Preprocess
from edgekd.deploy import exporter, hub
from edgekd.deploy.exporter import Coverage, Deployable, Exported, StandIn, Written
from edgekd.engine.events import Progress
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import UnsupportedError
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.measure.compare import Model, observe
from edgekd.hardware.measure.result import Comparison
from edgekd.hardware.profile import Measuring
from edgekd.hardware.runtime import Tensor
from edgekd.hardware.specs import CompilerSpec, Runnable, RuntimeSpec
from edgekd.models.shape import NetShape
from edgekd.search.graph import written
from edgekd.search.stages import WriteCandidate


def run_candidate(settings: WriteCandidate, inputs: Mapping[str, Artifact], work: Work) -> None:
    data = Dataset(inputs["data"])
    made = write(
        settings.shape, data.labels, data.image, settings.preprocess, settings.runtime, settings.cpu, work.out
    )  # fmt: skip
    told = Exported(made.files, made.entry, made.signature, Coverage(0, 0), None, not_run="its weights are random")
    exporter.save(told, settings.runtime, work.out)


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
    made = write(shape, labels, image, preprocess, runtime, cpu, folder, quantised=quantised)
    inputs = {spec.name: Tensor(spec.name, spec.dtype, fixed_shape(spec, 1)) for spec in made.signature.inputs}
    return Model(folder / made.entry, runtime, inputs)


def write(
    shape: NetShape,
    labels: Sequence[str],
    image: tuple[int, int, int],
    preprocess: Preprocess,
    runtime: RuntimeSpec,
    cpu: Cpu,
    folder: Path,
    *,
    quantised: bool = True,
) -> Written:
    """The files alone, of random weights. Raises UnsupportedError where the runtime's exporter knows no such net."""
    graph = written(shape, image, len(labels), runtime.dialect.on(cpu) if quantised else None)
    if preprocess.inside:
        hub.normalise_inside(graph, preprocess, image)
    described = signature.of_images(image, list(labels), preprocess)
    with tempfile.TemporaryDirectory() as hub_folder:
        path = Path(hub_folder) / "model.onnx"
        onnx.save(graph, path)
        deployable = Deployable(path, Path(hub_folder) / "none", described, {}, trained=False)
        return exporter.find(runtime.exporter).write(deployable, runtime, folder)


def estimated_ms(
    shape: NetShape,
    labels: Sequence[str],
    image: tuple[int, int, int],
    preprocess: Preprocess,
    runtime: CompilerSpec,
    cpu: Cpu,
) -> float:
    """What the compiler of a device elsewhere says of this shape: comparable only with what it says of others."""
    with tempfile.TemporaryDirectory() as folder:
        write(shape, labels, image, preprocess, runtime, cpu, Path(folder))
        stand_in: StandIn = exporter.find(runtime.exporter)  # type: ignore[assignment]
        latency_ms = stand_in.costs(Path(folder)).latency_ms
    if latency_ms is None:
        raise UnsupportedError(f"exporter {runtime.exporter}: estimates no latency")
    return latency_ms


def compared(models: Mapping[str, Model], measuring: Measuring, progress: Progress) -> Comparison:
    """All of them in the same fresh processes; ratios are over the first."""
    return observe(models, measuring, list(models)[:1], progress)
