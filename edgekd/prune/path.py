"""How fast the nets of a choice really are: savings of single blocks do not quite add up."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgekd.data.dataset import Dataset
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.hardware.remote.compare import observed
from edgekd.prune.choice import Room, Worth, chosen, too_few
from edgekd.prune.ladder import own_net
from edgekd.prune.places import narrowed
from edgekd.prune.stages import Walk
from edgekd.prune.staircase import WHOLE
from edgekd.search.latency import as_model

LEAST = 0.02  # of the whole net's time


def run(settings: Walk, inputs: Mapping[str, Artifact], work: Work) -> None:
    """`path.json`: of nets from hardly smaller to the smallest, what the staircase predicts and what was measured."""
    model, data = own_net(inputs["net"]), Dataset(inputs["data"])
    worth, shape = Worth.read(inputs["ladder"], inputs["staircase"]), model.config.shape
    choices: dict[str, dict[str, int]] = {}
    if chosen(worth, model, settings.by, 1.0, settings.parameters) is None:
        raise too_few(settings.parameters, Room(1.0, shape).share(worth.least()))
    lowest = smallest(worth, settings, inputs)
    for ratio in np.linspace(1, lowest, settings.points + 1)[1:]:
        stays = chosen(worth, model, settings.by, float(ratio), settings.parameters)
        if stays is not None and stays not in choices.values():
            choices[f"{ratio:.3f}"] = stays
    shapes = {WHOLE: shape} | {name: narrowed(shape, stays) for name, stays in choices.items()}
    with tempfile.TemporaryDirectory(dir=work.scratch) as folder:  # an attempt that failed leaves none
        models = {
            name: as_model(
                each, data.labels, data.image, settings.preprocess, settings.runtime, settings.cpu, Path(folder) / name
            )
            for name, each in shapes.items()
        }
        seen = observed(models, settings.measuring, [WHOLE], work.progress, settings.cpu, settings.there)
    points = [
        {"predicted": worth.ratio(stays), "measured": 1 / seen.speedup_over[WHOLE][name].value}
        for name, stays in choices.items()
    ]
    told = {"schema": 1, "kind": "measured", "by": settings.by, "points": points,
            "noise": seen.noise.model_dump(mode="json")}  # fmt: skip
    (work.out / "path.json").write_text(json.dumps(told, indent=1), "utf-8")


def smallest(worth: Worth, settings: Walk, inputs: Mapping[str, Artifact]) -> float:
    """The least that the staircase can say for this way to choose."""
    model = own_net(inputs["net"])
    low, high = LEAST, 1.0
    for _ in range(10):
        middle = (low + high) / 2
        if chosen(worth, model, settings.by, middle, settings.parameters) is None:
            low = middle
        else:
            high = middle
    return high
