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
from edgekd.data.stages import Split
from edgekd.deploy import exporter
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import EdgekdError
from edgekd.hardware.answering import Feeds
from edgekd.hardware.remote.compare import answered
from edgekd.hardware.specs import CompilerSpec
from edgekd.text import held
from edgekd.text.stages import EvaluateText, EvaluateTextThere
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
    model, reader, asked = inputs["model"], Reader(inputs["hub"].path), Asked.of(settings, inputs)
    session = exporter.opened(model, settings.threads)
    answers = asked.feeds(model, reader).answered(model.kind, session)
    session.close()
    asked.write(answers, reader, work.out)


def run_there(settings: EvaluateTextThere, inputs: Mapping[str, Artifact], work: Work) -> None:
    """The device answers what was tokenised here; what that is worth is found here."""
    model, reader, asked = inputs["model"], Reader(inputs["hub"].path), Asked.of(settings, inputs)
    spec = exporter.runtime(model)
    assert not isinstance(spec, CompilerSpec)
    feeds = asked.feeds(model, reader)
    answers = answered(exporter.entry(model), spec, feeds, work.progress, settings.cpu, settings.there)
    asked.write(answers, reader, work.out)


@dataclass(frozen=True)
class Asked:
    """A split's texts, and the two sides of its pairs."""

    split: Split
    texts: Sequence[str]
    labels: Sequence[int] | None
    pairs: held.Scored | None

    @classmethod
    def of(cls, settings: EvaluateText | EvaluateTextThere, inputs: Mapping[str, Artifact]) -> Asked:
        texts, count = held.read(inputs["texts"].path), settings.texts
        labels = None if texts.labels is None else texts.labels[settings.split][:count]
        pairs = held.read_pairs(inputs["pairs"].path, settings.split) if "pairs" in inputs else None
        return cls(
            settings.split, texts.texts[settings.split][:count], labels, pairs if pairs and pairs.first else None
        )

    @property
    def all(self) -> list[str]:
        return [*self.texts, *(self.pairs.first + self.pairs.second if self.pairs else ())]

    def feeds(self, model: Artifact, reader: Reader) -> Feeds:
        return reader.feeds(self.all, [spec.name for spec in signature.read(model.path).inputs])

    def write(self, answers: Array, reader: Reader, folder: Path) -> None:
        """A predictions artifact of answers [N, ...] to all of them."""
        answers, count = np.asarray(answers, np.float32), len(self.texts)
        kept: dict[str, Array] = {"texts": answers[:count]}
        if self.labels is not None:
            kept["labels"] = np.asarray(self.labels, np.int64)
        if self.pairs is not None:
            first, second = np.split(answers[count:], 2)
            kept |= {"first": first, "second": second, "scores": self.pairs.scores}
        save_file({name: np.ascontiguousarray(array) for name, array in kept.items()}, folder / FILE)
        told = {"schema": 1, "split": self.split, "n": count, "cut": reader.longer(self.texts)}
        (folder / "about.json").write_text(json.dumps(told), "utf-8")


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
        return dict(self.feeds([text], ["input_ids", "attention_mask"]).arrays)

    def feeds(self, texts: Sequence[str], names: Sequence[str]) -> Feeds:
        """
        Each text alone and as long as it is, [N, longest]. Padded ones, all of one length, are all asked for at once:
        what answers for a device elsewhere is slow to start.
        """
        read = [self.tokenizer.encode(text) for text in texts]
        lengths = tuple(len(one.ids) for one in read)
        arrays = {name: np.zeros((len(read), max(lengths, default=0)), np.int64) for name in names}
        for row, one in enumerate(read):
            known = {"input_ids": one.ids, "attention_mask": one.attention_mask}
            for name, array in arrays.items():
                array[row, : lengths[row]] = known[name]
        return Feeds(arrays, len(read)) if self.length else Feeds(arrays, lengths=lengths)

    def longer(self, texts: Sequence[str]) -> int:
        """How many lose their ends."""
        return sum(bool(self.tokenizer.encode(text).overflowing) for text in texts)
