"""What an exported encoder answers in its own runtime, kept whole, so that comparisons can be paired."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from edgekd.data import signature
from edgekd.deploy import exporter
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import EdgekdError
from edgekd.hardware.answering import predict
from edgekd.hardware.runtime import Session
from edgekd.text import held
from edgekd.text.stages import EvaluateText
from edgekd.text.tokens import tokenizer_of

FILE = "predictions.safetensors"
Array = NDArray[Any]


@dataclass(frozen=True)
class Answers:
    """Of texts [N, D] or [N, C], whose classes are `labels` [N]; of the pairs' texts [P, D], and their scores [P]."""

    texts: Array
    labels: NDArray[np.int64] | None = None
    first: Array = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    second: Array = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    scores: Array = field(default_factory=lambda: np.zeros(0))


def run(settings: EvaluateText, inputs: Mapping[str, Artifact], work: Work) -> None:
    model, texts = inputs["model"], held.read(inputs["texts"].path)
    reader = Reader(inputs["hub"].path)
    session = exporter.opened(model, settings.threads)
    some = texts.texts[settings.split][: settings.texts]
    kept = {"texts": answered(session, reader, some)}
    if texts.labels is not None:
        kept["labels"] = np.asarray(texts.labels[settings.split][: settings.texts], np.int64)
    if "pairs" in inputs:
        pairs = held.read_pairs(inputs["pairs"].path, settings.split)
        if pairs.first:
            kept |= {name: answered(session, reader, side) for name, side in
                     (("first", pairs.first), ("second", pairs.second))} | {"scores": pairs.scores}  # fmt: skip
    session.close()
    save_file({name: np.ascontiguousarray(array) for name, array in kept.items()}, work.out / FILE)
    (work.out / "about.json").write_text(
        json.dumps({"schema": 1, "split": settings.split, "n": len(some), "cut": reader.longer(some)}), "utf-8"
    )


def read(predictions: Artifact) -> Answers:
    return Answers(**load_file(predictions.file(FILE)))


class Reader:
    """Text to what a model reads of it, as a bundle's run.py does it."""

    def __init__(self, folder: Path) -> None:
        described = signature.read(folder)
        if described.text is None:
            raise EdgekdError(f"{folder}: this model reads no text")
        self.tokenizer = tokenizer_of(folder)
        self.tokenizer.enable_truncation(described.text.max_length)
        self.length = signature.padded_to(described)
        if self.length:
            self.tokenizer.enable_padding(length=self.length, pad_id=described.text.padding)

    def __call__(self, text: str) -> dict[str, Array]:
        """Of one text: [1, T]."""
        read = self.tokenizer.encode(text)
        return {"input_ids": np.asarray([read.ids], np.int64),
                "attention_mask": np.asarray([read.attention_mask], np.int64)}  # fmt: skip

    def longer(self, texts: Sequence[str]) -> int:
        """How many lose their ends."""
        return sum(bool(self.tokenizer.encode(text).overflowing) for text in texts)


def answered(session: Session, reader: Reader, texts: Sequence[str]) -> Array:
    """
    [N, D], each text alone: what is quantised as it comes depends on what else is in the batch. Padded ones are all
    asked for at once, for what answers for a device elsewhere is slow to start.
    """
    known = [tensor.name for tensor in session.describe().inputs]
    if reader.length:
        read = [reader(text) for text in texts]
        feeds = {name: np.concatenate([one[name] for one in read]) for name in known}
        return np.asarray(predict("model", session, feeds, len(texts)), np.float32)
    rows = []
    for text in texts:
        feeds = reader(text)
        rows.append(np.array(session.run({name: feeds[name] for name in known})[0][0], np.float32))
    return np.stack(rows)
