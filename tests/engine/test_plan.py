"""A plan names what would run and why; it is what people read before they spend an hour."""

from __future__ import annotations

import sys
from pathlib import Path

from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.plan import Pending, Planner
from edgekd.engine.store import Store

sys.path.insert(0, str(Path(__file__).parent))
from scripted import JOIN, WRITE, Write


def test_what_never_ran_is_pending_and_so_is_what_follows(store: Store) -> None:
    planner = Planner(store)
    first = planner.call(WRITE, Write(), {})
    second = planner.call(JOIN, Write(), {"part.0": first})
    assert isinstance(first, Pending)
    assert isinstance(second, Pending)
    assert [step.reason for step in planner.steps] == ["never run", "waits for write"]


def test_a_changed_setting_is_the_reason(store: Store) -> None:
    Builder(store, Silent()).call(WRITE, Write(text="old"), {})
    planner = Planner(store)
    planner.call(WRITE, Write(text="new"), {})
    assert planner.steps[0].reason == "text old -> new"


def test_the_nearest_earlier_run_explains(store: Store) -> None:
    builder = Builder(store, Silent())
    builder.call(WRITE, Write(text="near", fail=False), {})
    far = builder.call(WRITE, Write(text="far"), {})
    builder.call(JOIN, Write(text="-"), {"part.0": far})
    builder.call(JOIN, Write(text="+"), {"part.0": far, "part.1": far})
    planner = Planner(store)
    planner.call(JOIN, Write(text="*"), {"part.0": far})
    assert planner.steps[0].reason == "text - -> *"


def test_a_changed_input_is_the_reason(store: Store) -> None:
    builder = Builder(store, Silent())
    builder.call(JOIN, Write(), {"part.0": builder.call(WRITE, Write(text="a"), {})})
    other = builder.call(WRITE, Write(text="b"), {})
    planner = Planner(store)
    planner.call(JOIN, Write(), {"part.0": other})
    assert planner.steps[0].reason == "its input 'part.0' changed"


def test_a_plan_writes_nothing(store: Store) -> None:
    planner = Planner(store)
    planner.call(WRITE, Write(), {})
    assert not store.root.exists()


def test_an_estimate_scales_an_earlier_run_by_its_work(store: Store) -> None:
    from dataclasses import replace

    stage = replace(WRITE, cost=lambda settings: len(settings.text), typical_s=100.0)
    planner = Planner(store)
    planner.call(stage, Write(text="abc"), {})
    assert planner.steps[0].seconds == 300.0  # never run here: a typical machine
    Builder(store, Silent()).call(stage, Write(text="a"), {})
    planner.call(stage, Write(text="abc"), {})
    assert planner.steps[1].seconds < 10.0  # now by this machine
