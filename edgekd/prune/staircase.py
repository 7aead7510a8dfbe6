"""What a block costs a runtime with so many units: measured on nets of which all blocks of a kind are as wide."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgekd.data.dataset import Dataset
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.hardware.remote.compare import observed
from edgekd.models.shape import NetShape
from edgekd.prune.places import Units, narrowed, rungs, units_of
from edgekd.prune.stages import Staircase
from edgekd.search.latency import as_model

SCHEMA = 2
WHOLE = "whole"


def run(settings: Staircase, inputs: Mapping[str, Artifact], work: Work) -> None:
    """`staircase.json`: of each place and rung, what share of the whole net's time it saves against all units."""
    data = Dataset(inputs["data"])
    nets = variants(settings.shape, settings.step, streams=settings.streams)
    with tempfile.TemporaryDirectory(dir=work.scratch) as folder:  # an attempt that failed leaves none
        models = {
            name: as_model(
                shape, data.labels, data.image, settings.preprocess, settings.runtime, settings.cpu, Path(folder) / name
            )
            for name, (shape, _, _) in nets.items()
        }
        seen = observed(models, settings.measuring, [WHOLE], work.progress, settings.cpu, settings.there)
    faster = {name: row.value for name, row in seen.speedup_over[WHOLE].items()}
    saved: dict[str, dict[str, float]] = {}
    for name, (_, members, stays) in nets.items():
        for place in members:
            saved.setdefault(place, {})[str(stays)] = (1 - 1 / faster[name]) / len(members)
    told = {
        "schema": SCHEMA, "kind": "measured", "saved": saved, "whole_ms": seen.models[WHOLE].latency_p50_ms.value,
        "nets": len(nets), "noise": seen.noise.model_dump(mode="json"), "runtime": settings.runtime.name,
    }  # fmt: skip
    (work.out / "staircase.json").write_text(json.dumps(told, indent=1), "utf-8")


def variants(shape: NetShape, step: int, *, streams: bool = False) -> dict[str, tuple[NetShape, list[str], int]]:
    """By name: a net in which all places of one kind have so many units, which places these are, and how many."""
    groups: dict[object, list[Units]] = {}
    for units in units_of(shape, streams=streams):
        groups.setdefault(_kind(shape, units), []).append(units)
    found: dict[str, tuple[NetShape, list[str], int]] = {WHOLE: (shape, [], 0)}
    for members in groups.values():
        names = [units.name for units in members]
        for stays in rungs(members[0], step, shape)[1:]:
            net = narrowed(shape, dict.fromkeys(names, stays))
            found[f"{names[0]} to {names[-1]}, {stays} units"] = (net, names, stays)
    return found


def _kind(shape: NetShape, units: Units) -> object:
    """What costs as much: the same layers on images of the same size. A stream is alone."""
    if units.block is None:
        return units.name
    side = math.prod(block.stride for block in shape.blocks[: units.block])
    return shape.blocks[units.block], side, units.width, units.may_vanish
