"""Smaller nets beside each other: simpler ways are held against what the latency chose, like against like."""

from __future__ import annotations

import json
from pathlib import Path

from edgekd.beside import Made, rivals
from edgekd.budget import TEACHER, TEACHER_INT8
from edgekd.engine.store import Artifact
from edgekd.prune.stages import By
from edgekd.report.cuts import held_against


def made(folder: Path, by: By, ratio: float, seed: int) -> Made:
    place = folder / f"{by}-{ratio:g}-{seed}"
    place.mkdir()
    (place / "cut.json").write_text(json.dumps({"ratio": ratio}), "utf-8")
    cut = Artifact("checkpoint", place.name, place)
    return Made(by, seed, (cut,), cut, cut, cut, {})


def test_a_simpler_way_is_held_against_the_latencys_net_of_its_ratio_and_seed(tmp_path: Path) -> None:
    nets = {
        f"{by}-{ratio:g}-{seed}": made(tmp_path, by, ratio, seed)
        for by in ("latency", "uniform", "magnitude") for ratio in (0.5, 0.7) for seed in (0, 1)
    }  # fmt: skip
    assert rivals(nets, nets["uniform-0.7-1"]) == ["latency-0.7-1"]
    assert rivals(nets, nets["magnitude-0.5-0"]) == ["latency-0.5-0"]
    assert rivals(nets, nets["latency-0.5-0"]) == []
    assert rivals({"uniform-0.5-0": nets["uniform-0.5-0"]}, nets["uniform-0.5-0"]) == []


def test_the_report_says_how_far_behind_it_is() -> None:
    whole = {TEACHER: [0.0, 0.0, 0.0], TEACHER_INT8: [0.0, 0.0, 0.0]}
    rows = {"0.5-latency": {"change_points": whole},
            "0.5-uniform": {"change_points": whole | {"0.5-latency": [-1.6, -2.5, -0.7]}}}  # fmt: skip
    assert held_against(rows) == ["", "0.5-uniform against 0.5-latency: -1.60 [-2.50, -0.70] points."]
