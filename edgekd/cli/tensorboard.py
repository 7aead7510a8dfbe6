"""What a training says, for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekd.engine.events import Listener, Outcome
from edgekd.errors import UnavailableError


class Logged:
    """Passes everything on to another listener, and writes the numbers of each stage as scalars."""

    def __init__(self, listener: Listener, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UnavailableError("--tensorboard: needs tensorboard; pip install 'edgekd[tensorboard]'") from error
        self._listener, self._stage = listener, ""
        try:
            self._writer: Any = SummaryWriter(str(folder))
        except OSError as error:
            raise UnavailableError(
                f"--tensorboard {folder}: cannot be written: {error.strerror}; choose another folder"
            ) from error

    def started(self, stage: str, at: str) -> None:
        self._stage = f"{stage} {at}".strip()
        self._listener.started(stage, at)

    def running(self, stage: str, at: str) -> None:
        self._listener.running(stage, at)

    def progressed(self, done: int, total: int, unit: str, **facts: float) -> None:
        for name, value in facts.items():
            self._writer.add_scalar(f"{self._stage}/{name}", value, done)
        self._listener.progressed(done, total, unit, **facts)

    def finished(self, stage: str, at: str, outcome: Outcome, seconds: float) -> None:
        self._writer.flush()
        self._listener.finished(stage, at, outcome, seconds)

    def said(self, sentence: str) -> None:
        self._listener.said(sentence)


def logged(listener: Listener, folder: Path | None) -> Listener:
    """The listener itself, where nothing is to be written. Raises UnavailableError."""
    return Logged(listener, folder) if folder else listener
