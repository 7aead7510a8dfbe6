"""Take a teacher from a folder, once it is clear that it knows the data's classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError

from edgekd.data.dataset import Dataset
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError
from edgekd.models import checkpoint
from edgekd.teacher import folder
from edgekd.teacher.stages import LoadTeacher


def run(settings: LoadTeacher, inputs: Mapping[str, Artifact], work: Work) -> None:
    try:
        model = checkpoint.load(Path(settings.folder))
    except (SafetensorError, RuntimeError, OSError, ValueError) as error:
        raise ConfigError(f"teacher.from: {settings.folder} does not load: {error}") from error
    if folder.inspect(Path(settings.folder))[0] != settings.digest:
        raise ConfigError(f"teacher.from: {settings.folder} changed while the build began; run it again")
    data = Dataset(inputs["data"])
    names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    if names != data.labels:
        raise ConfigError(
            f"teacher.from: {settings.folder} answers with the {len(names)} classes {_few(names)}, the data has the "
            f"{len(data.labels)} classes {_few(data.labels)}; they must be the same, in the same order"
        )
    if model.config.in_channels != data.image[0]:
        raise ConfigError(
            f"teacher.from: {settings.folder} reads {model.config.in_channels} channels, the data has {data.image[0]}"
        )
    checkpoint.save(model, work.out)


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
