"""What a training says can be watched in TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgekd.cli.tensorboard import Logged
from edgekd.engine.events import Silent
from edgekd.errors import UnavailableError


class Ear(Silent):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def progressed(self, done: int, total: int, unit: str, **facts: float) -> None:
        self.heard.append(f"{done} of {total} {facts}")

    def said(self, sentence: str) -> None:
        self.heard.append(sentence)


def test_numbers_go_to_a_file_that_tensorboard_reads_and_on_to_the_terminal(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ear = Ear()
    logged = Logged(ear, tmp_path)
    logged.started("distill.float", "local-cpu")
    logged.running("distill.float", "local-cpu")
    for step, loss in ((1, 2.5), (2, 1.5)):
        logged.progressed(step, 2, "step", loss=loss)
    logged.said("done")
    logged.finished("distill.float", "local-cpu", "ran", 1.0)
    events = EventAccumulator(str(tmp_path)).Reload()
    seen = [(row.step, row.value) for row in events.Scalars("distill.float local-cpu/loss")]
    assert seen == [(1, 2.5), (2, 1.5)]
    assert ear.heard == ["1 of 2 {'loss': 2.5}", "2 of 2 {'loss': 1.5}", "done"]


def test_without_the_package_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UnavailableError, match=r"needs tensorboard; pip install 'edgekd\[tensorboard\]'"):
        Logged(Silent(), tmp_path)
