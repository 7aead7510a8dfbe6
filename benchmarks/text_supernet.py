"""
Sub-networks of one AutoDistil run on MiniLM against students of their shapes that were trained alone, at equal cost.

    python benchmarks/text_supernet.py DATA [--texts 6000] [--epochs 3] [--band base] [--values 4] [--students 8]

All learn docstrings by the same losses. The supernet's training takes so many steps, each of four nets; the students
taken from it, as many as a build measures, share its time: each one trained alone gets an equal part of it, in whole
epochs. STS-B dev, n 1,500. What was finished stays in the folder: run it again and it goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from about import versions
from text_students import LENGTH, PAIRS, TEACHER, Judged, interval, kept

from edgekd.data.table import column_of
from edgekd.engine.events import Progress, Silent
from edgekd.text import corpus, folders, metrics, supernet, tokens, train, truncate
from edgekd.text.folders import Model
from edgekd.text.settings import DistillEmbedding, TextSupernet, TextTraining
from edgekd.text.shape import EncoderShape
from edgekd.text.sources import DocstringsSource
from edgekd.text.supernet import Scored

HELD = 512
SILENT = Progress(Silent())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("text_supernet"))
    parser.add_argument("--texts", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--band", choices=["base", "small", "tiny"], default="base")
    parser.add_argument("--values", type=int, default=4)
    parser.add_argument("--students", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    asked.folder.mkdir(parents=True, exist_ok=True)
    dev = [list(column_of(asked.data / "stsb_dev.parquet", name)) for name in PAIRS]
    scores = np.array(list(column_of(asked.data / "stsb_dev.parquet", "score")))
    judged = Judged(*(tokens.tokenize(side, TEACHER, 128) for side in dev), scores)
    teacher = folders.load(TEACHER)
    made = tokens.tokenize(corpus.read(DocstringsSource()).texts[: asked.texts + HELD], TEACHER, LENGTH)
    targets = kept(teacher, made, asked.folder / "targets.safetensors")
    held, learnt = made.only(range(HELD)), made.only(range(HELD, len(made)))
    settings = TextSupernet(
        band=asked.band, values=asked.values, freeze_words=True, train=training(asked.epochs, asked)
    )
    importance = truncate.by_taylor(teacher.net, learnt)
    whole, band = supernet.supernet_of(teacher, settings, importance)
    start = time.process_time()
    supernet.train(whole, band, learnt, targets[HELD:], settings, asked.folder, SILENT, teacher)
    note = asked.folder / "seconds.json"
    if not note.is_file():
        note.write_text(json.dumps(time.process_time() - start), "utf-8")
    spent = json.loads(note.read_text("utf-8"))
    if not (table := asked.folder / "scored.json").is_file():
        found = supernet.score(whole, band, held, targets[:HELD], settings, teacher, SILENT)
        table.write_text(json.dumps([[one.shape.model_dump(mode="json"), *one[1:]] for one in found]), "utf-8")
    rows = json.loads(table.read_text("utf-8"))
    scored = [Scored(EncoderShape.model_validate_json(json.dumps(row[0])), *row[1:]) for row in rows]
    print(
        f"{versions()}\n{len(band)} sub-networks of band {asked.band}, {asked.texts} docstrings, {spent / 60:.1f} min"
    )
    alike = np.array([[one.loss, one.parameters, one.macs] for one in scored])
    print(f"loss against MACs over all of them: Spearman {metrics.spearman(alike[:, 0], -alike[:, 2]):.3f}")
    print("\n| sub-network: layers, heads, width, units | MACs at 32 tokens | parameters | held-out loss | "
          "STS-B dev, taken out | trained alone | for |\n" + "|---" * 7 + "|")  # fmt: skip
    best = chosen(scored, asked.students)
    for one in best:
        print(
            line(one, whole, teacher, importance, learnt, targets[HELD:], judged, spent / len(best), asked), flush=True
        )


def training(epochs: int, asked: argparse.Namespace) -> TextTraining:
    return TextTraining(epochs=epochs, learning_rate=asked.rate, precision="bfloat16", threads=asked.threads)


def chosen(scored: list[Scored], count: int) -> list[Scored]:
    """The least loss within equal parts of the way from the least to the most MACs, each once."""
    macs = [one.macs for one in scored]
    limits = [min(macs) + (max(macs) - min(macs)) * n // count for n in range(1, count + 1)]
    found = {one.macs: one for limit in limits if (one := supernet.within(scored, limit)) is not None}
    return list(found.values())


def line(
    one: Scored, whole: Model, teacher: Model, importance: truncate.Importance, learnt: tokens.Tokens,
    targets: torch.Tensor, judged: Judged, seconds: float, asked: argparse.Namespace,
) -> str:  # fmt: skip
    shape = one.shape
    name = f"{shape.layers}, {shape.heads[0]}, {shape.hidden_size}, {shape.units[0]}"
    path = asked.folder / f"{name}, {asked.students}.json"
    if not path.is_file():
        epochs, spent, own = alone(one, teacher, importance, learnt, targets, seconds, asked)
        found = [judgement(model, judged) for model in (supernet.extract(whole, shape), own)]
        path.write_text(json.dumps({"found": found, "epochs": epochs, "seconds": spent}), "utf-8")
    told = json.loads(path.read_text("utf-8"))
    cells = [
        name, f"{one.macs / 1e6:.0f} M", f"{one.parameters / 1e6:.1f} M", f"{one.loss:.3f}",
        *map(interval, told["found"]),
        f"{told['epochs']} epochs, {told['seconds'] / 60:.1f} min",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def alone(
    one: Scored, teacher: Model, importance: truncate.Importance, learnt: tokens.Tokens, targets: torch.Tensor,
    seconds: float, asked: argparse.Namespace,
) -> tuple[int, float, Model]:  # fmt: skip
    """The same shape, losses and texts; as many whole epochs as fit into the time, told by 20 steps."""
    places = truncate.evenly(teacher.net.shape.layers, one.shape.layers)
    losses = TextSupernet().losses

    def run(some: tokens.Tokens, epochs: int, folder: Path) -> tuple[float, Model]:
        model = truncate.truncated(teacher, one.shape, places, importance)
        folder.mkdir(parents=True, exist_ok=True)
        start = time.process_time()
        settings = DistillEmbedding(losses=losses, train=training(epochs, asked))
        train.distil(model, some, targets[: len(some)], settings, folder, SILENT, teacher)
        return time.process_time() - start, model

    name = f"{one.macs}, {asked.students}"
    few, _ = run(learnt.only(range(20 * 64)), 1, asked.folder / f"probe {name}")
    epochs = max(1, round(seconds / (few * len(learnt) / (20 * 64))))
    spent, model = run(learnt, epochs, asked.folder / f"alone {name}")
    return epochs, spent, model


def judgement(model: Model, judged: Judged) -> metrics.Interval:
    first, second = (train.answers(model, side).numpy() for side in judged[:2])
    return metrics.spearman_interval(metrics.cosines(first, second), judged.scores)


if __name__ == "__main__":
    main()
