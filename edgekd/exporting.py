"""What a script calls to export a model as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from edgekd.as_is import AsIs, as_is
from edgekd.budget import Budget, Verdict, check_decidable
from edgekd.data.archive import LABELS, pixels_among
from edgekd.data.arrays import headers
from edgekd.data.stages import Archive, Preprocess
from edgekd.deploy import bundle
from edgekd.deploy.bundle import Built
from edgekd.deploy.stages import TakeOnnx
from edgekd.engine.digest import digest_file
from edgekd.engine.events import Listener, Silent
from edgekd.engine.executor import Builder
from edgekd.engine.faults import explained
from edgekd.engine.lock import Lock, drift
from edgekd.engine.lock import read as read_lock
from edgekd.engine.prune import prune
from edgekd.engine.store import Artifact, Store
from edgekd.engine.usage import Usage
from edgekd.engine.workspace import default_workspace, size_cap_bytes, temporary_files_in
from edgekd.errors import ConfigError, DataError
from edgekd.hardware.parts import parts_of
from edgekd.hardware.profile import DeviceProfile, load_profile, profile_of, this_cpu
from edgekd.quant.stages import Recipe
from edgekd.settings import validate

MARGIN_POINTS = 0.5


def export(
    model: str | Path,
    data: str | Path,
    *,
    target: str = "local-cpu",
    calibration_data: str | Path | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    labels: Sequence[str] = (),
    budget: Budget | None = None,
    recipe: Recipe | None = None,
    trained: bool = True,
    out: str | Path = "dist",
    workspace: Path | None = None,
    listener: Listener | None = None,
) -> Built:
    """
    Quantise an ONNX model for each runtime of the target, measure all of it here, and leave the fastest that keeps
    the budget in `out`/<model>/<target>.

    `data` is .npz: `images` of 0 to 255 (with `mean` and `std` of pixels / 255) or an array an input, and `labels`;
    without labels what counts is that the model's own answers are kept. Half of it decides, half is judged. A net
    that is not `trained` is measured for its speed: no accuracy is asked of it.
    Raises EdgekdError; a missed budget is no exception: it stands in the verdicts.
    """
    asked = requested(
        Path(model), Path(data), Path(calibration_data) if calibration_data else None, tuple(mean), tuple(std),
        tuple(labels), budget or Budget(accuracy_drop_points=MARGIN_POINTS if trained else None), recipe,
    ).model_copy(update={"trained": trained})  # fmt: skip
    return _export(asked, load_profile(target), Path(out), workspace, listener or Silent())


def export_again(
    locked: Path, *, out: str | Path = "dist", workspace: Path | None = None, listener: Listener | None = None
) -> Built:
    """Export again what an edgekd.lock says: its settings and decisions, with measurements taken anew."""
    listener = listener or Silent()
    lock = read_lock(locked)
    if lock.pipeline.get("command") != "export":
        raise ConfigError(f"{locked}: is of a build; use edgekd build --locked {locked}")
    tree = {key: value for key, value in lock.pipeline.items() if key != "command"}
    asked = validate(AsIs, tree, f"{locked}: pipeline")
    profile = profile_of(lock.profile, f"{locked}: profile")
    for sentence in drift(lock, this_cpu(profile).model_dump(mode="json")):
        listener.said(f"not as it was when {locked.name} was written: {sentence}")
    return _export(asked, profile, Path(out), workspace, listener, replay=lock)


def requested(
    model: Path,
    data: Path,
    calibration_data: Path | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    labels: tuple[str, ...],
    budget: Budget,
    recipe: Recipe | None,
) -> AsIs:
    """The request with the digests of its files. Raises ConfigError and DataError for what can be seen at once."""
    if model.suffix != ".onnx":
        raise ConfigError(f"{model}: edgekd export takes ONNX files; export the model to ONNX first")
    for path in (model, data, calibration_data):
        if path is not None and not path.is_file():
            raise ConfigError(f"{path}: no such file")
    if len(mean) != len(std):
        raise ConfigError(f"--mean has {len(mean)} values and --std {len(std)}; give both, one value a channel")
    held, inputs = headers(data), _inputs(model)
    images = pixels_among(held, inputs)
    if mean and images is None:
        raise ConfigError("--mean, --std: are of images, and the data has what the model reads; leave them out")
    read = (images,) if images else tuple(inputs)
    if missing := [name for name in read if name not in held]:
        raise DataError(
            f"{data}: has {', '.join(held) or 'nothing'}, and the model reads {missing[0]!r}; give an array of that "
            "name, or `images` of 0 to 255 to a model with one input"
        )
    channels = held[images].shape[-1] if images and len(held[images].shape) == 4 else 1
    samples = held[read[0]].shape[0] if held[read[0]].shape else 0
    check_decidable(budget, max(1, min(samples // 2, Archive.model_fields["most"].default)))
    return AsIs(
        name=re.sub(r"[^a-z0-9._-]+", "-", model.stem.lower()).strip("-._") or "model",
        model=TakeOnnx(
            path=str(model),
            sha256={part.name: digest_file(part) for part in parts_of(model) if part.is_file()},
            preprocess=Preprocess(mean=mean or (0.0,) * channels, std=std or (1.0,) * channels) if images else None,
            labels=labels,
        ),
        data=Archive(
            path=str(data),
            sha256=digest_file(data),
            inputs=tuple(inputs),
            images=images,
            calibration=str(calibration_data) if calibration_data else None,
            calibration_sha256=digest_file(calibration_data) if calibration_data else None,
        ),
        budget=budget,
        recipe=recipe,
        labelled=any(name in held and name not in read for name in LABELS),
    )


def _inputs(model: Path) -> dict[str, str]:
    """Names and dtypes."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        graph = onnx.load(model, load_external_data=False).graph
    except DecodeError as error:
        raise ConfigError(f"{model}: not an ONNX model that can be read: {error}") from error
    constants = {tensor.name for tensor in graph.initializer}
    kinds = {v.name: v.type.tensor_type.elem_type for v in graph.input if v.name not in constants}
    found = {name: str(onnx.helper.tensor_dtype_to_np_dtype(kind)) for name, kind in kinds.items() if kind}
    if not found:
        raise ConfigError(f"{model}: has no inputs; nothing can be asked of it")
    return found


def _export(
    asked: AsIs,
    profile: DeviceProfile,
    out: Path,
    workspace: Path | None,
    listener: Listener,
    replay: Lock | None = None,
) -> Built:
    store = Store(workspace or default_workspace())
    cap = size_cap_bytes()
    with explained("workspace", store.root), temporary_files_in(store.root), Usage(store.root).registered() as need:
        builder = Builder(store, listener, pipeline=asked.name, replay=replay, need=need)
        done = as_is(builder, asked, profile, builder.differences if replay else None)
        assert isinstance(done.report, Artifact)
        told = done.report.json("report.json")
        model = done.models[told["shipped"]]
        assert isinstance(model, Artifact)
        assert isinstance(done.data, Artifact)
        request = {"command": "export", **asked.model_dump(mode="json", by_alias=True)}
        device = this_cpu(profile).model_dump(mode="json")
        lock = Lock.of(request, profile.model_dump(mode="json", by_alias=True), device, builder.trail)
        folder = out / asked.name / profile.name
        bundle.publish(folder, bundle.Parts(model=model, report=done.report, lock=lock, data=done.data, samples=0))
    with suppress(OSError):
        prune(store, keep=[out], max_bytes=cap)
    verdicts = tuple(Verdict.model_validate_json(json.dumps(row)) for row in told["verdicts"])
    return Built(profile.name, folder, told, verdicts)
