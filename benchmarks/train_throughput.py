"""
How fast edgekd trains a student: ResNet-56 to ResNet-20 at 32 x 32, beside a bare PyTorch loop and a naive one.

    python benchmarks/train_throughput.py [--rounds 3] [--threads 2] [--precision bfloat16]

* naive: float32, channels first, views made image by image, the teacher answers along: how scripts are written.
* bare: edgekd's settings (channels last, the precision, views by the batch) in a loop of twenty lines, the teacher
  live or kept.
* edgekd: `edgekd.train.loop.fit` with the objective and the batches that `edgekd distill` uses.

Each variant runs in fresh processes, in turn, 3 rounds by default; a figure is the median over rounds of the median
step. Weights and pixels are random: speed does not depend on them. The ceiling is what one 3 x 3 convolution of 64
channels reaches, forward, times the share of the arithmetic that is convolution (all of it).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from about import versions
from torch import Tensor, nn

from edgekd.data.dataset import Samples
from edgekd.data.stages import Preprocess, Views
from edgekd.engine.events import Progress, Silent
from edgekd.hardware.fingerprint import cpu
from edgekd.models import checkpoint
from edgekd.models.shape import resnet
from edgekd.teacher.teaching import teaching, with_outputs
from edgekd.train.bank import bank_of, kept_views
from edgekd.train.batches import views_of
from edgekd.train.loop import Batch, fit
from edgekd.train.losses.settings import CrossEntropyLoss, KdLoss
from edgekd.train.settings import Precision, Training

BATCH, STEPS, WARM = 128, 14, 4
LABELS = [str(number) for number in range(10)]
HOW = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
VIEWS = Views(pad=4, flip=True, rotate_degrees=0, scale=0, shift=0)
LOSSES = (KdLoss(name="kd"), CrossEntropyLoss(name="cross-entropy"))
MACS = {"student": 40.8e6, "teacher": 126e6}


def samples() -> Samples:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH * STEPS, 32, 32, 3), np.uint8)
    return Samples(images, rng.integers(0, 10, len(images)).astype(np.int64))


def pair() -> tuple[Any, Any]:
    student = checkpoint.build(resnet(20), LABELS, 3, 0).net.train()
    return student, checkpoint.build(resnet(56), LABELS, 3, 1).net.eval()


def loss_of(logits: Tensor, said: Tensor, labels: Tensor) -> Tensor:
    kd = F.kl_div((logits / 4).log_softmax(1), (said / 4).log_softmax(1), reduction="batchmean", log_target=True) * 16
    return 0.9 * kd + 0.1 * F.cross_entropy(logits, labels)


def one_by_one(data: Samples) -> Iterator[tuple[Tensor, Tensor]]:
    """As a dataset's __getitem__ does it."""
    mean, std = torch.tensor(HOW.mean).view(3, 1, 1), torch.tensor(HOW.std).view(3, 1, 1)
    for rows in torch.randperm(len(data)).split(BATCH):
        made = []
        for row in rows.tolist():
            x = torch.from_numpy(data.images[row]).permute(2, 0, 1).float() / 255
            top, left = torch.randint(9, (2,)).tolist()
            x = F.pad(x, (4, 4, 4, 4))[:, top : top + 32, left : left + 32]
            made.append(((x.flip(2) if torch.rand(()) < 0.5 else x) - mean) / std)
        yield torch.stack(made), torch.from_numpy(data.labels[rows.numpy()])


def timed(net: nn.Module, steps: Iterator[Callable[[], Tensor]]) -> list[float]:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    seconds, start = [], time.perf_counter()
    for step in steps:
        loss = step()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()
        now = time.perf_counter()
        seconds.append(now - start)
        start = now
    return seconds


def naive() -> list[float]:
    student, teacher = pair()
    for net in (student, teacher):
        checkpoint.contiguous(net)

    def steps() -> Iterator[Callable[[], Tensor]]:
        for x, labels in one_by_one(samples()):
            with torch.no_grad():
                said = teacher(x)
            yield lambda x=x, said=said, labels=labels: loss_of(student(x), said, labels)  # type: ignore[misc]

    return timed(student, steps())


def bare(precision: Precision, *, kept: bool) -> list[float]:
    student, teacher = pair()
    checkpoint.channels_last(teacher)
    data = samples()
    store = torch.randn(len(data), 10)

    def steps() -> Iterator[Callable[[], Tensor]]:
        for batch in views_of(data, HOW, VIEWS, BATCH, 10)(torch.Generator().manual_seed(0)):
            yield lambda batch=batch: loss_of(student(batch.x), said(batch), batch.labels)  # type: ignore[misc]

    def said(batch: Batch) -> Tensor:
        if kept:
            return store[: len(batch.labels)]
        with torch.no_grad():
            return teacher(batch.x)

    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        return timed(student, steps())


class Stopwatch(Silent):
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.last = time.perf_counter()

    def progressed(self, *_: object, **__: float) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now


def ours(precision: Precision, *, kept: bool) -> list[float]:
    student, teacher = pair()
    data, watch = samples(), Stopwatch()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "teacher"
        model = checkpoint.build(resnet(56), LABELS, 3, 1)
        model.net.load_state_dict(teacher.state_dict())
        checkpoint.save(model, folder)
        lessons = teaching(LOSSES, folder, student, (3, 32, 32), 10, STEPS, kept=kept)
        net = with_outputs(student, lessons.names)
        bank, store = bank_of(data, HOW, VIEWS, 2, 0), torch.randn(2, len(data), 10).half()
        batches = (
            kept_views(bank, lambda which, rows: store[which, rows].float(), BATCH)
            if kept
            else views_of(data, HOW, VIEWS, BATCH, 10)
        )

        def objective(batch: Batch) -> Tensor:
            return lessons.loss(net(batch.x), batch)

        whole = nn.ModuleDict({"net": student, "lesson": lessons.lesson})
        settings = Training(epochs=1, batch=BATCH, learning_rate=0.01, threads=torch.get_num_threads(), looks=0,
                            precision=precision)  # fmt: skip
        watch.last = time.perf_counter()
        fit(whole, batches, len(data), objective, settings, Path(work), Progress(watch))
    return watch.seconds


def ceiling(precision: Precision) -> list[float]:
    conv = nn.Conv2d(64, 64, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    x = torch.randn(BATCH, 64, 16, 16).contiguous(memory_format=torch.channels_last)
    found = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        for _ in range(STEPS):
            start = time.perf_counter()
            conv(x)
            found.append(time.perf_counter() - start)
    return found


VARIANTS: dict[str, Callable[[Precision], list[float]]] = {
    "naive, live teacher": lambda _: naive(),
    "bare, live teacher": lambda precision: bare(precision, kept=False),
    "edgekd, live teacher": lambda precision: ours(precision, kept=False),
    "bare, kept targets": lambda precision: bare(precision, kept=True),
    "edgekd, kept targets": lambda precision: ours(precision, kept=True),
    "ceiling": ceiling,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    parser.add_argument("--one", choices=VARIANTS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        torch.set_num_threads(asked.threads)
        print(json.dumps(VARIANTS[asked.one](asked.precision)[WARM:]))
        return
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(asked.rounds):
        for name in random.sample(list(VARIANTS), len(VARIANTS)):
            words = [sys.executable, __file__, "--one", name, "--threads", str(asked.threads),
                     "--precision", asked.precision]  # fmt: skip
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            found[name].append(statistics.median(json.loads(done.stdout.splitlines()[-1])))
    print(table(found, asked))


def table(found: dict[str, list[float]], asked: argparse.Namespace) -> str:
    rates = {name: sorted(BATCH / seconds for seconds in row) for name, row in found.items()}
    middle = {name: statistics.median(row) for name, row in rates.items()}
    gflops = BATCH * 2 * 64 * 64 * 9 * 256 / statistics.median(found["ceiling"]) / 1e9
    student = 6 * MACS["student"] / 1e9  # forward and backward, GFLOP a sample
    lines = [
        f"{cpu().model}. {versions()}", "",
        f"{asked.threads} threads, batch {BATCH}, {asked.precision} but in the naive loop, {asked.rounds} processes of "
        f"{STEPS - WARM} steps each.", "",
        "| loop | images/s | lowest, highest | of the naive one |", "|---|---|---|---|",
    ]  # fmt: skip
    for name in VARIANTS:
        if name != "ceiling":
            low, high = rates[name][0], rates[name][-1]
            share = middle[name] / middle["naive, live teacher"]
            lines.append(f"| {name} | {middle[name]:.0f} | {low:.0f}, {high:.0f} | {share:.2f} |")
    lines += [
        "",
        f"edgekd over bare: live {middle['edgekd, live teacher'] / middle['bare, live teacher']:.3f}, "
        f"kept {middle['edgekd, kept targets'] / middle['bare, kept targets']:.3f}.",
        f"A 3 x 3 convolution of 64 channels reaches {gflops:.0f} GFLOP/s forward; at that rate all through, the "
        f"student would train at {gflops / student:.0f} images/s.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
