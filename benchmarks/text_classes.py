"""
Whether a small classifier of questions is as right as the MiniLM that taught it: TREC, six classes.

    python benchmarks/text_classes.py DATA [--folder text_classes] [--threads 1] [--seed 0]

DATA holds trec_train.parquet. 1,090 questions, drawn by what they say, are held out; the teacher is all-MiniLM-L6-v2 of
edgekd[text], fine-tuned on the others. Students are cut from it and learn its logits and the labels, most of them of
texts made from the questions too (`mixed`); of the largest, two others in as many steps: without these, and without the
teacher. What was trained stays in the folder. Times are of this machine, whatever else it did.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from about import versions
from text_students import TEACHER, embedded, exported, one_thread, timed

from edgekd.data.stages import Parts
from edgekd.engine.events import Progress, Silent
from edgekd.stats import paired_difference, proportion_interval
from edgekd.text import corpus, folders, tokens, train, truncate
from edgekd.text.folders import Model
from edgekd.text.settings import Student, TeachClasses, TextTraining
from edgekd.text.sources import TextTableSource
from edgekd.text.tokens import Tokens
from edgekd.train.losses.settings import CrossEntropyLoss, KdLoss

LENGTH = 64
CROSS_ENTROPY = CrossEntropyLoss(name="cross-entropy", weight=1.0)
KD = (KdLoss(name="kd", temperature=2.0), CrossEntropyLoss(name="cross-entropy", weight=0.1))
MIXED, EPOCHS, BATCH = 14, 4, 64
STUDENTS = {
    "3 layers": Student(layers=3, units=1024), "2 layers": Student(layers=2, units=1024),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("text_classes"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    source = TextTableSource(source="text-table", path=str(asked.data / "trec_train.parquet"), text=("question",),
                             label="coarse")  # fmt: skip
    found = corpus.read(source)
    made = tokens.tokenize(found.texts, TEACHER, LENGTH)
    rows = found.rows(Parts(val_share=0.01, test_share=0.2))
    labels = torch.tensor(found.labels)
    learnt, held = made.only(rows["train"]), made.only(rows["test"])
    own, judged = labels[rows["train"]], labels[rows["test"]]
    plain = folders.load(TEACHER)
    whole = Student(layers=6, max_positions=None, importance="magnitude")
    teacher = truncate.student_of(plain, whole, learnt, found.names)
    taught(teacher, learnt, own, Lessons(4, 1e-4), asked, "teacher")
    much = EPOCHS * (1 + MIXED)
    lessons = {name: (name, Lessons(EPOCHS, 3e-4, teacher, MIXED, BATCH)) for name in STUDENTS}
    lessons |= {"3 layers, questions alone": ("3 layers", Lessons(much, 3e-4, teacher, 0, BATCH)),
                "3 layers, labels alone": ("3 layers", Lessons(much, 3e-4, None, 0, BATCH))}  # fmt: skip
    print(versions())
    print(f"\n| classifier | % right of {len(judged)} | against the teacher | as int8 | int8 MB | "
          "faster than the teacher's fp32 |\n" + "|---" * 6 + "|")  # fmt: skip
    base, files = right(teacher, held, judged), {"teacher": exported(teacher, asked.folder, "teacher")}
    print(line("teacher", teacher, files, held, judged, base), flush=True)
    for name, (shape, lesson) in lessons.items():
        whole = plain if lesson.teacher is None else teacher
        model = truncate.student_of(whole, STUDENTS[shape], learnt, found.names)
        taught(model, learnt, own, lesson, asked, name)
        files[name] = exported(model, asked.folder, name)
        print(line(name, model, files, held, judged, base), flush=True)


class Lessons(NamedTuple):
    epochs: int
    rate: float
    teacher: Model | None = None
    mixed: int = 0
    batch: int = 32


def taught(
    model: Model, learnt: Tokens, labels: torch.Tensor, lesson: Lessons, asked: argparse.Namespace, name: str
) -> None:
    told = f"{lesson.epochs} epochs, {lesson.mixed} mixed, batch {lesson.batch}, seed {asked.seed}"
    folder = asked.folder / f"{name}, {told}"
    folder.mkdir(parents=True, exist_ok=True)
    settings = TeachClasses(
        losses=KD if lesson.teacher else (CROSS_ENTROPY,), freeze_words=True, mixed=lesson.mixed,
        train=TextTraining(epochs=lesson.epochs, learning_rate=lesson.rate, batch=lesson.batch, precision="bfloat16",
                           seed=asked.seed, threads=asked.threads),
    )  # fmt: skip
    logits = train.answers(lesson.teacher, learnt) if lesson.teacher else None
    train.teach(model, learnt, labels, settings, folder, Progress(Silent()), targets=logits, teacher=lesson.teacher)


def right(model: Model, held: Tokens, judged: torch.Tensor) -> np.ndarray:
    return np.asarray((train.answers(model, held).argmax(1) == judged).numpy())


def line(name: str, model: Model, files: dict[str, Any], held: Tokens, judged: torch.Tensor, base: np.ndarray) -> str:
    _, int8 = files[name]
    session = onnxruntime.InferenceSession(int8, one_thread(), providers=["CPUExecutionProvider"])
    small = embedded(session, held).argmax(1) == judged.numpy()
    found = right(model, held, judged)
    ms = timed({"int8": int8, "teacher": files["teacher"][0]})
    cells = [
        name, "{:.2f} [{:.2f}, {:.2f}]".format(*proportion_interval(int(found.sum()), len(found))),
        "{:+.2f} [{:+.2f}, {:+.2f}]".format(*paired_difference(base, found)) if name != "teacher" else "",
        f"{100 * small.mean():.2f}", f"{int8.stat().st_size / 1e6:.1f}", f"{ms['teacher'] / ms['int8']:.1f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
