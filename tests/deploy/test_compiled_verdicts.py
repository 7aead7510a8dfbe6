"""Limits of devices elsewhere: judged by what a compiler said, and left open where nothing here can say."""

from __future__ import annotations

import pytest

from edgekd.budget import TEACHER, TEACHER_INT8, Budget
from edgekd.deploy.exporter import Costs
from edgekd.deploy.select_compiled import Ranked, why_not
from edgekd.deploy.stages import Room
from edgekd.deploy.verdicts import compiled
from edgekd.elsewhere import room_of
from edgekd.hardware.profile import load_profile
from edgekd.pipeline import load_pipeline

SIZES = {TEACHER: 1_000_000, TEACHER_INT8: 250_000, "int8": 50_000}
NPU = {
    TEACHER: None,
    TEACHER_INT8: Costs("estimated", latency_ms=2.0, flash_kib=240.0, ram_kib=64.0),
    "int8": Costs("estimated", latency_ms=0.5, flash_kib=48.0, ram_kib=16.0),
}
SILENT = {name: Costs("none") if costs else None for name, costs in NPU.items()}


def test_an_estimate_decides_latency_and_speed_over_the_teachers_int8() -> None:
    judged, undecided = compiled(
        Budget(latency_p50_ms=0.4, speedup_over_teacher_int8=3.0, shrink_over_teacher=10.0), Room(), NPU, SIZES, "int8"
    )
    assert {verdict.limit: (verdict.value, verdict.state) for verdict in judged} == {
        "latency_p50_ms": (0.5, "fail"),
        "speedup_over_teacher_int8": (4.0, "pass"),
        "shrink_over_teacher": (20.0, "pass"),
    }
    assert undecided == []


def test_a_limit_that_nothing_here_can_decide_is_said_and_is_no_pass() -> None:
    budget = Budget(latency_p50_ms=0.4, speedup_over_teacher=2.0, speedup_over_teacher_int8=3.0)
    judged, undecided = compiled(budget, Room(flash_kib=32), SILENT, SIZES, "int8")
    assert judged == []
    assert [sentence.split(":")[0] for sentence in undecided] == [
        "latency_p50_ms 0.4", "speedup_over_teacher 2", "speedup_over_teacher_int8 3", "flash_kib 32",
    ]  # fmt: skip
    assert all("not decided" in sentence for sentence in undecided)


@pytest.mark.parametrize(("room", "states"), [(Room(flash_kib=64, ram_kib=8), ["pass", "fail"]), (Room(), [])])
def test_a_device_has_so_much_flash_and_ram_and_no_more(room: Room, states: list[str]) -> None:
    judged, _ = compiled(Budget(), room, NPU, SIZES, "int8")
    assert [verdict.state for verdict in judged] == states


def test_the_smaller_of_what_a_device_has_and_what_was_asked_for_counts() -> None:
    device, pipeline = load_profile("cortex-m7"), load_pipeline("digits")
    assert room_of(pipeline, device) == Room(flash_kib=2048, ram_kib=512)
    asked = pipeline.model_copy(update={"budget": Budget(flash_kib=64, ram_kib=4096)})
    assert room_of(asked, device) == Room(flash_kib=64, ram_kib=512)
    assert room_of(pipeline, load_profile("ethos-u55-128")) == Room()


def test_the_faster_by_its_compiler_goes_first_and_the_smaller_where_no_time_is_known() -> None:
    fast, slow = (Ranked(name, (), ms, 10, None) for name, ms in (("fast", 1.0), ("slow", 2.0)))
    small, large = (Ranked(name, (), None, size, None) for name, size in (("small", 10), ("large", 30)))
    refused = Ranked("refused", (), 0.1, 1, "it answers otherwise")
    assert sorted([slow, refused, fast], key=lambda one: one.place) == [fast, slow, refused]
    assert sorted([large, small], key=lambda one: one.place) == [small, large]
    assert why_not(slow, fast) == "fast is 2.00 times as fast by the compiler's estimate"
    assert why_not(large, small) == "small is 3.00 times as small; neither's time is known"
    assert why_not(refused, fast) == "it answers otherwise"
