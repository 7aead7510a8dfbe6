"""Who listens to a build."""

from __future__ import annotations

from edgekd.engine.events import Silent


class Said(Silent):
    """Keeps every sentence."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)
