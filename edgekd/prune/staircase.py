"""What a block costs a runtime with so many units: measured on nets of which all blocks of a kind are as wide."""

from __future__ import annotations

import json
from collections.abc import Mapping

from edgekd.data.dataset import Dataset
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.hardware.measure.compare import observe
from edgekd.models.shape import NetShape
from edgekd.prune.stages import Staircase
from edgekd.prune.structure import narrowed, rungs, units_of
from edgekd.search.latency import as_model

SCHEMA = 1
WHOLE = "whole"


def run(settings: Staircase, inputs: Mapping[str, Artifact], work: Work) -> None:
    """`staircase.json`: of each block and rung, what share of the whole net's time it saves against all units."""
    data = Dataset(inputs["data"])
    nets = variants(settings.shape, settings.step)
    models = {
        name: as_model(
            shape, data.labels, data.image, settings.preprocess, settings.runtime, settings.cpu, work.scratch / name
        )
        for name, (shape, _, _) in nets.items()
    }
    seen = observe(models, settings.measuring, [WHOLE], work.progress)
    faster = {name: row.value for name, row in seen.speedup_over[WHOLE].items()}
    saved: dict[str, dict[str, float]] = {}
    for name, (_, members, stays) in nets.items():
        for block in members:
            saved.setdefault(str(block), {})[str(stays)] = (1 - 1 / faster[name]) / len(members)
    told = {
        "schema": SCHEMA, "kind": "measured", "saved": saved, "whole_ms": seen.models[WHOLE].latency_p50_ms.value,
        "nets": len(nets), "noise": seen.noise.model_dump(mode="json"), "runtime": settings.runtime.name,
    }  # fmt: skip
    (work.out / "staircase.json").write_text(json.dumps(told, indent=1), "utf-8")


def variants(shape: NetShape, step: int) -> dict[str, tuple[NetShape, tuple[int, ...], int]]:
    """By name: a net in which all blocks of one kind have so many units, which blocks these are, and how many."""
    groups: dict[object, list[int]] = {}
    side = 1
    units = {each.block: each for each in units_of(shape)}
    for number, block in enumerate(shape.blocks):
        if number in units:
            groups.setdefault((block, side, units[number].may_vanish), []).append(number)
        side *= block.stride
    found: dict[str, tuple[NetShape, tuple[int, ...], int]] = {WHOLE: (shape, (), 0)}
    for members in groups.values():
        for stays in rungs(units[members[0]], step, shape)[1:]:
            kept = dict.fromkeys(members, stays)
            found[f"blocks {members[0]}-{members[-1]}, {stays} units"] = (narrowed(shape, kept), tuple(members), stays)
    return found
