"""
Fewer than 8 bits: what PTQ loses on the pretrained ResNet-20, and how much of it QAT with distillation wins back.

    python benchmarks/low_bits.py DATA [--folder low-bits] [--epochs 5] [--images 10000]

The float net is its own teacher (KL of logits at temperature 4, no labels); it trains on images of the training split
and is judged on cifar10_clean.npz, which it has not seen: the exported file in ONNX Runtime. Interrupted runs go on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import cifar
import numpy as np
import onnx
import torch
from about import versions
from torch import Tensor, nn

from edgekd.deploy import hub
from edgekd.engine.events import Progress, Silent
from edgekd.hardware.answering import predict
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.runtimes.onnxruntime import OnnxRuntimeSession
from edgekd.hardware.specs import plain_onnxruntime
from edgekd.quant.ptq import calibrated
from edgekd.quant.qat import trained
from edgekd.quant.stages import Freezing
from edgekd.stats import paired_difference
from edgekd.train.lesson import Lesson
from edgekd.train.loop import Batch
from edgekd.train.losses.settings import KdLoss
from edgekd.train.settings import Training
from edgekd.train.terms import Said

BATCH = 64
CASES = {"W3A8": (3, 8), "W4A4": (4, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("low-bits"))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", choices=CASES, action="append")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    clean = np.load(asked.data / "cifar10_clean.npz")
    net = cifar.net_of("resnet20", asked.data)
    with torch.no_grad():
        right = net(torch.from_numpy(cifar.read(clean["x"]))).numpy().argmax(1) == clean["y"]
    print(f"fp32: {100 * right.mean():.2f} % (n {len(right)})", flush=True)
    rows = []
    for name in asked.only or CASES:
        for seed in range(asked.seeds):
            rows.append(row(name, seed, asked, clean, right))
            print(json.dumps(rows[-1]), flush=True)
    print(table(rows, right))


def row(name: str, seed: int, asked: argparse.Namespace, clean: dict[str, np.ndarray], right: np.ndarray) -> dict:
    """Both files made and judged; read from the folder where that was done before."""
    key = asked.folder / f"{name}-{asked.epochs}-{asked.images}-{asked.rate}-{seed}.json"
    if not key.is_file():
        weights, activations = CASES[name]
        dialect = Dialect(
            activation="uint8-affine", reduced_range=False, weight_bits=weights, activation_bits=activations
        )
        train = np.load(asked.data / "cifar10_dev.npz")["x_train"][: asked.images]
        images = torch.from_numpy(cifar.read(train))
        plain = calibrated(cifar.net_of("resnet20", asked.data), dialect, images[:512])
        start = time.perf_counter()
        won = qat(name, seed, dialect, images, asked)
        seconds = time.perf_counter() - start
        answers = {what: judged(made, clean, asked.folder) for what, made in (("ptq", plain), ("qat", won))}
        kept = {what: paired_difference(right, correct)._asdict() for what, correct in answers.items()}
        lost = right.mean() - answers["ptq"].mean()
        found = {
            "case": name, "seed": seed, "epochs": asked.epochs, "images": asked.images, "rate": asked.rate,
            **{what: 100 * float(correct.mean()) for what, correct in answers.items()}, "change": kept,
            "recovered": 100 * float((answers["qat"].mean() - answers["ptq"].mean()) / lost), "seconds": seconds,
        }  # fmt: skip
        key.write_text(json.dumps(found), "utf-8")
    return json.loads(key.read_text("utf-8"))


def qat(name: str, seed: int, dialect: Dialect, images: Tensor, asked: argparse.Namespace) -> torch.fx.GraphModule:
    teacher = cifar.net_of("resnet20", asked.data)
    student = cifar.net_of("resnet20", asked.data).train()
    lesson = Lesson((KdLoss(name="kd", temperature=4.0, weight=1.0),), 1)

    def objective(net: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            targets = teacher(batch.x)
        return lesson(Said(net(batch.x)), Said(targets), batch.labels)

    def batches(generator: torch.Generator) -> Iterator[Batch]:
        for rows in torch.randperm(len(images), generator=generator).split(BATCH):
            yield Batch(crop_and_flip(images[rows], generator), torch.zeros(len(rows), dtype=torch.int64))

    scratch = asked.folder / f"{name}-{asked.epochs}-{asked.images}-{asked.rate}-{seed}"
    scratch.mkdir(exist_ok=True)
    settings = Training(epochs=asked.epochs, batch=BATCH, learning_rate=asked.rate, warmup=0.1, weight_decay=1e-4,
                        average=0.99, seed=seed)  # fmt: skip
    return trained(
        student, (3, 32, 32), dialect, batches, len(images), objective, settings, Freezing(), scratch,
        Progress(Silent()),
    )  # fmt: skip


def crop_and_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """One shift by up to four pixels a batch, one flip an image."""
    down, right = torch.randint(0, 9, (2,), generator=generator).tolist()
    x = nn.functional.pad(x, (4, 4, 4, 4))[:, :, down : down + 32, right : right + 32]
    flipped = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(flipped[:, None, None, None], x.flip(3), x).contiguous()


def judged(made: torch.fx.GraphModule, clean: dict[str, np.ndarray], folder: Path) -> np.ndarray:
    path = folder / "judged.onnx"
    onnx.save(hub.to_onnx(made, torch.zeros(2, 3, 32, 32), "pixel_values", "logits"), path)
    session = OnnxRuntimeSession(path, plain_onnxruntime())
    answers = predict(path.name, session, {"pixel_values": cifar.read(clean["x"])}, batch=100)
    session.close()
    return np.asarray(answers.argmax(1) == clean["y"])


def table(rows: list[dict], right: np.ndarray) -> str:
    lines = [
        versions(), "",
        f"ResNet-20, fp32 {100 * right.mean():.2f} % on {len(right)} clean images.", "",
        "| bits | seed | epochs x images | PTQ % | QAT-KD % | change against fp32, points | recovered | s |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in rows:
        change = one["change"]["qat"]
        lines.append(
            f"| {one['case']} | {one['seed']} | {one['epochs']} x {one['images']} | {one['ptq']:.2f} | "
            f"{one['qat']:.2f} | {change['value']:+.2f} [{change['low']:+.2f}, {change['high']:+.2f}] | "
            f"{one['recovered']:.0f} % | {one['seconds']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
