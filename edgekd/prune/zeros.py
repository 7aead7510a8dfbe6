"""What zeros would gain on a device: a graph's smallest weights are zero; measured beside the dense files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from edgekd.data.dataset import Dataset
from edgekd.data.signature import Signature, TensorIn, TensorOut, fixed_shape
from edgekd.deploy import exporter, hub
from edgekd.deploy.exporter import Deployable
from edgekd.engine.events import Progress
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError, UnsupportedError
from edgekd.hardware.here import takes_floats
from edgekd.hardware.inputs import Shapes, random_feeds, resolved
from edgekd.hardware.measure.compare import Model
from edgekd.hardware.measure.result import Comparison
from edgekd.hardware.profile import DeviceProfile
from edgekd.hardware.remote.compare import observed
from edgekd.hardware.runtime import Described, Tensor
from edgekd.hardware.runtimes.onnxruntime import OnnxRuntimeSession
from edgekd.hardware.specs import Runnable, plain_onnxruntime
from edgekd.hardware.where import Where
from edgekd.prune.stages import AskZeros
from edgekd.quant.onnx_ptq import quantise
from edgekd.search.graph import written
from edgekd.sparse.packing import Weighs, weighs
from edgekd.sparse.plans import Sparsity
from edgekd.sparse.zeros import put_zeros

DENSE = "dense"
PROCESSES, ROUNDS = 5, 50


def run(settings: AskZeros, inputs: Mapping[str, Artifact], work: Work) -> None:
    """`zeros.json`: of a net of this shape, whose weights are random: kernels without a use for zeros take as long."""
    data = Dataset(inputs["data"])
    graph = written(settings.shape, data.image, len(data.labels), None)
    if settings.preprocess.inside:
        hub.normalise_inside(graph, settings.preprocess, data.image)
    path = work.scratch / "student.onnx"
    onnx.save(graph, path)
    told = looked(path, graph, settings.profile, settings.where, (settings.plan,), {}, work.progress)
    (work.out / "zeros.json").write_text(json.dumps(told, indent=1), "utf-8")
    for sentence in told["says"]:
        work.progress.warn(f"sparsity: {sentence}")


def looked(
    path: Path, graph: onnx.ModelProto, profile: DeviceProfile, where: Where, plans: Sequence[Sparsity], shapes: Shapes,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """The graph of `path` with each plan's zeros beside itself, in every runtime there, as float and int8."""
    session = OnnxRuntimeSession(path, plain_onnxruntime())
    described = session.describe()
    session.close()
    with tempfile.TemporaryDirectory() as folder:
        made, sizes, lacks = dict[str, Model](), dict[str, Weighs](), dict[str, str]()
        for name, plan in {DENSE: None, **{str(plan): plan for plan in plans}}.items():
            sparse = onnx.ModelProto()
            sparse.CopyFrom(graph)
            if plan is not None and not put_zeros(sparse, plan):
                lacks[name] = f"no layer of {path.name} can be {plan}"
                continue
            work = Path(folder) / f"{len(made)}"
            for kind, one, total in _files(sparse, described, where, shapes, work, lacks):
                made[f"{name}, {kind}"], sizes[f"{name}, {kind}"] = one, total
        if len(lacks_all := [name for name in lacks if name in {str(plan) for plan in plans}]) == len(plans):
            raise ConfigError(
                f"{path}: no layer with float32 weights in its initialisers can be {', '.join(lacks_all)}; it takes "
                "input channels that are a multiple of the group, and no float16"
            )
        bases = [name for name in made if name.startswith(f"{DENSE}, ")]
        how = profile.measure.model_copy(update={"processes": PROCESSES, "rounds": ROUNDS})
        seen = observed(made, how, bases, progress, where.cpu, where.there)
    return _told(path, profile, seen, sizes, lacks)


def _files(
    graph: onnx.ModelProto, described: Described, where: Where, shapes: Shapes, work: Path, lacks: dict[str, str],
) -> Iterator[tuple[str, Model, Weighs]]:  # fmt: skip
    """The model in each runtime, float where it takes floats, and int8; what cannot be written goes to `lacks`."""
    work.mkdir()
    read = resolved("model", described, shapes, 1)
    onnx.save(graph, work / "float.onnx")
    for number, spec in enumerate(where.runtimes):
        kinds = {"fp32": work / "float.onnx"} if takes_floats(spec) else {}
        kinds["int8"] = work / f"int8-{number}.onnx"
        quantise(work / "float.onnx", random_feeds(read, 0), spec.dialect.on(where.cpu), kinds["int8"])
        for kind, made in kinds.items():
            name, folder = f"{kind}@{spec.name}", work / f"{number}-{kind}"
            try:
                yield name, *_written(made, described, read, spec, folder)
            except UnsupportedError as error:
                lacks.setdefault(name, str(error))


def _written(
    hub: Path, described: Described, read: Mapping[str, Tensor], spec: Runnable, folder: Path
) -> tuple[Model, Weighs]:
    folder.mkdir()
    shapes = {
        tensor.name: TensorIn(
            name=tensor.name, dtype=tensor.dtype, layout="NCHW" if len(tensor.shape) == 4 else "any",
            shape=tuple(axis if isinstance(axis, int) else size for axis, size in zip(
                tensor.shape, read[tensor.name].shape, strict=True)),
        )
        for tensor in described.inputs
    }  # fmt: skip
    answers = tuple(TensorOut(name=tensor.name, meaning="values") for tensor in described.outputs)
    deployable = Deployable(
        hub, hub.parent / "none", Signature(inputs=tuple(shapes.values()), outputs=answers), {}, trained=False
    )
    made = exporter.find(spec.exporter).write(deployable, spec, folder)
    inputs = {one.name: Tensor(one.name, one.dtype, fixed_shape(one, 1)) for one in made.signature.inputs}
    return Model(folder / made.entry, spec, inputs), weighs([folder / name for name in made.files])


def _told(
    path: Path, profile: DeviceProfile, seen: Comparison, sizes: Mapping[str, Weighs], lacks: dict[str, str]
) -> dict[str, Any]:
    rows = []
    for name, file in sizes.items():
        plan, kind = name.split(", ")
        base = f"{DENSE}, {kind}"
        rows.append({
            "plan": plan, "kind": kind, "latency_p50_ms": list(seen.models[name].latency_p50_ms),
            "times_faster": None if plan == DENSE else list(seen.speedup_over[base][name]),
            "says": None if plan == DENSE else seen.verdict(name, base), **file._asdict(),
            "smaller_compressed": sizes[base].compressed_bytes / file.compressed_bytes,
        })  # fmt: skip
    return {
        "schema": 1, "model": path.name, "target": profile.name, "kind": "measured", "device": seen.device.model,
        "processes": seen.processes, "noise": seen.noise.model_dump(mode="json"), "rows": rows, "not_written": lacks,
        "says": sentences(rows),
    }  # fmt: skip


def sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a person should know before training for zeros; bytes are never called a speed-up."""
    found = []
    for row in rows:
        if row["plan"] == DENSE:
            continue
        value, low, high = row["times_faster"]
        time = {
            "faster": f"{value:.2f} [{low:.2f}, {high:.2f}] times as fast",
            "slower": f"slower: {value:.2f} [{low:.2f}, {high:.2f}] times as fast",
            "same": "no faster",
        }.get(row["says"], f"not shown to be faster ({value:.2f} [{low:.2f}, {high:.2f}])")
        found.append(
            f"{row['plan']} in {row['kind']}: {time}; its file is {row['smaller_compressed']:.1f} times smaller where "
            "it is sent compressed"
        )
    return found
