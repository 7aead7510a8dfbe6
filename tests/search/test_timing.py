"""Latencies of a study that are predicted: in a build's medians, with an interval, no further than the table."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers.timed import SPACE, analytic_ms, table

from edgekd import find_student
from edgekd.budget import TEACHER, TEACHER_INT8, Budget
from edgekd.engine.store import Store
from edgekd.errors import ConfigError
from edgekd.hardware.predict import fitted
from edgekd.models.shape import NetShape
from edgekd.pipeline import load_pipeline
from edgekd.search.space import sample
from edgekd.search.stages import Device, Explore, TableFile
from edgekd.search.timing import ANCHORS, Foretold, Seen, Timer, anchored, excess
from edgekd.stats import Interval

STUDY = "search.study={sampler: random, trials: 6, batch: 3}"


def test_predictions_are_in_the_medians_of_a_build_and_as_wide_as_they_are_wrong() -> None:
    """Medians 1.4 times the least times, give or take 5 %: nine in ten new ones lie within."""
    predictor = fitted(table(150, seed=1))
    noise = np.random.default_rng(0)

    def medians(seed: int, count: int) -> dict[object, float]:
        shapes = [shape for shape in sample(SPACE, 2 * count, seed) if predictor.why_not(shape) is None][:count]
        return {shape: 1.4 * analytic_ms(shape) * math.exp(0.05 * noise.standard_normal()) for shape in shapes}

    shares = []
    for seed in range(12):
        found = anchored(predictor, medians(seed, ANCHORS))  # type: ignore[arg-type]
        assert found.factor == pytest.approx(1.4, rel=0.06)
        new = medians(100 + seed, 60)
        told = found.p50_ms(list(new))  # type: ignore[arg-type]
        shares.append(np.mean([row.low <= ms <= row.high for row, ms in zip(told, new.values(), strict=True)]))
    assert 0.85 < np.mean(shares) < 0.99


@dataclass
class Fixed(Timer):
    """A timer whose measurements are 9 ms, and whose anchors said 1.4 and a tenth."""

    def __post_init__(self) -> None:
        self.__dict__["_anchored"] = (
            Foretold(fitted(table(150, seed=1)), 1.4, math.log(1.1)),
            {TEACHER: 4.0, TEACHER_INT8: 2.0},
        )

    def _measured(self, shapes: Mapping[str, NetShape]) -> dict[str, Seen]:
        return {name: Seen(Interval(9.0, 8.0, 10.0), 0.0, "measured") for name in shapes}


def test_the_lower_end_of_a_prediction_is_held_against_the_budget_and_what_is_beyond_is_measured() -> None:
    inside = sample(SPACE, 1, seed=1)[0]
    beyond = NetShape(stem_width=8, widths=((4096, 4096),), strides=(1,))
    budget = Budget(speedup_over_teacher=3.0, latency_p50_ms=1e6)
    settings, device = (
        Explore.model_construct(budget=budget),
        Device.model_construct(name="d", table=TableFile(path="t")),
    )
    found = Fixed(settings, device, ["a"], (3, 32, 32), {}).seen({"in": inside, "out": beyond})
    (least,) = fitted(table(150, seed=1)).predict([inside])
    ms, over, kind = found["in"]
    assert kind == "predicted"
    assert ms == pytest.approx((1.4 * least.latency_ms, 1.4 * least.latency_ms / 1.1, 1.4 * least.latency_ms * 1.1))
    assert over == pytest.approx(max(0.0, 3.0 * ms.low / 4.0 - 1))
    tight = Explore.model_construct(budget=Budget(speedup_over_teacher=8.0 / ms.low))
    assert Fixed(tight, device, ["a"], (3, 32, 32), {}).seen({"in": inside})["in"].excess == pytest.approx(1.0)
    assert found["out"].kind == "measured"


def test_a_limit_against_what_a_device_does_not_run_is_left_out() -> None:
    assert excess(Budget(speedup_over_teacher=6.0), 1.0, {TEACHER_INT8: 2.0}) == 0
    assert excess(Budget(speedup_over_teacher_int8=4.0), 1.0, {TEACHER_INT8: 2.0}) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("budget", "over"),
    [
        (Budget(), 0.0),
        (Budget(latency_p50_ms=2.0), 0.0),
        (Budget(latency_p50_ms=0.8), 0.25),
        (Budget(speedup_over_teacher=6.0, speedup_over_teacher_int8=1.0), 0.5),
        (Budget(speedup_over_teacher=4.0, speedup_over_teacher_int8=4.0), 1.0),
    ],
)
def test_the_worst_limit_on_latency_counts(budget: Budget, over: float) -> None:
    assert excess(budget, 1.0, {TEACHER: 4.0, TEACHER_INT8: 2.0}) == pytest.approx(over)


@pytest.mark.parametrize(
    ("sets", "sentence"),
    [
        (
            ["search.tables={local-cpu: no.json}", STUDY],
            "search.tables: no.json: no such file; edgekd devices",
        ),
        (["search.tables={local-cpu: no.json}"], "a study predicts latencies, and there is none; give search.study"),
        (
            ["search.tables={rpi5: no.json}", STUDY],
            "search.tables: rpi5: no target of this pipeline has this name; there are local-cpu",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_when_the_pipeline_is_read(sets: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_pipeline("digits", sets)


@pytest.mark.slow
def test_a_study_predicts_from_its_table_and_measures_its_finalists(
    micro_settings: list[str], workspace: Path, tmp_path: Path
) -> None:
    space = load_pipeline("digits", micro_settings).search.space
    (tmp_path / "space.yaml").write_text(space.model_dump_json(), "utf-8")
    command = ["devices", "calibrate", "--space", str(tmp_path / "space.yaml"), "--nets", "50", "--passes", "2",
               "--image", "28", "--channels", "1", "--out", str(tmp_path / "table.json")]  # fmt: skip
    subprocess.run([sys.executable, "-m", "edgekd", *command], check=True, capture_output=True)
    tables = f"search.tables={{local-cpu: {tmp_path / 'table.json'}}}"
    sets = [*micro_settings, STUDY, tables, "search.measure=2", "search.race.students=0"]
    told = find_student(load_pipeline("digits", sets), out=tmp_path / "out", workspace=workspace)
    *_, record = Store(workspace).records("search.study")
    rows = json.loads((workspace / "objects" / record["digest"] / "scores.json").read_text("utf-8"))["candidates"]
    kinds = {row["latency_kind"]["local-cpu"] for row in rows}
    assert "predicted" in kinds
    assert told["others"]["latency_kind"] == "predicted"
    assert {row["latency_kind"] for row in told["shortlist"]} == {"measured"}
    by_id = {row["id"]: row["latency_p50_ms"]["local-cpu"][0] for row in rows}
    for row in told["shortlist"]:
        # The same unit: by how much a table and a later measurement differ on busy cores is a benchmark's to say.
        assert 0.1 < by_id[row["id"]] / row["latency_p50_ms"][0] < 10


@pytest.mark.slow
@pytest.mark.parametrize("here", [True, False])
def test_a_study_takes_a_compilers_estimates_beside_what_is_measured(
    micro_settings: list[str], workspace: Path, tmp_path: Path, here: bool
) -> None:
    """And of a pipeline for nothing but such a device, its limits decide which shapes are kept."""
    pytest.importorskip("ethosu", reason="needs edgekd[litert]")
    lead = str(Path(__file__).parent.parent / "one-runtime.yaml")
    targets = f"targets=[{f'{lead}, ' if here else ''}ethos-u55-128]"
    sets = [*micro_settings, targets, STUDY, "search.race.students=0", "budget={latency_p50_ms: 0.1}"]
    find_student(load_pipeline("digits", sets), target=lead, out=tmp_path / "out", workspace=workspace)
    *_, record = Store(workspace).records("search.study")
    rows = json.loads((workspace / "objects" / record["digest"] / "scores.json").read_text("utf-8"))["candidates"]
    assert {tuple(row["latency_kind"].values()) for row in rows} == {("measured", "estimated")}
    assert all(row["keeps"]["ethos-u55-128"] == (row["latency_p50_ms"]["ethos-u55-128"][0] <= 0.1) for row in rows)
    by_macs = sorted(rows, key=lambda row: float(row["scores"]["macs"]))
    assert by_macs[0]["latency_p50_ms"]["ethos-u55-128"] < by_macs[-1]["latency_p50_ms"]["ethos-u55-128"]
    *_, record = Store(workspace).records("search.shortlist")
    kept = json.loads((workspace / "objects" / record["digest"] / "candidates.json").read_text("utf-8"))["candidates"]
    decides = "local-cpu" if here else "ethos-u55-128"
    able = {row["id"] for row in rows if row["keeps"][decides]}
    assert {row["id"] for row in kept} <= able or (here and not able)  # a busy machine may measure none so fast
