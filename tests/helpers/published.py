"""The 64 ResNets whose distilled accuracy on CIFAR-100 the authors of DisWOT published."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from edgekd.models.shape import NetShape
from edgekd.search.scores.plugins import Candidate, Shown

CLASSES = [f"class {number}" for number in range(100)]
TABLE = Path(__file__).parents[1] / "published" / "diswot_s1_cifar100.csv"


class Net(NamedTuple):
    depths: tuple[int, ...]
    shape: NetShape
    distilled: float  # top-1, %
    alone: float


def shape_of(depths: tuple[int, ...]) -> NetShape:
    widths = [width for width, count in zip((16, 32, 64), depths, strict=True) for _ in range(count)]
    strides = [s for first, count in zip((1, 2, 2), depths, strict=True) for s in (first, *[1] * (count - 1))]
    return NetShape(stem_width=16, widths=tuple((w, w) for w in widths), strides=tuple(strides))


def nets() -> list[Net]:
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = []
    for row in rows:
        depths = tuple(int(part) for part in row["depths"].split("-"))
        found.append(Net(depths, shape_of(depths), float(row["kd_top1"]), float(row["vanilla_top1"])))
    return found


def photographs(seed: int) -> Shown:
    """64 crops of scikit-learn's two photographs, 32 x 32 each, and a ResNet-110 with random weights."""
    from sklearn.datasets import load_sample_images

    generator, images = np.random.default_rng(seed), load_sample_images().images
    crops = []
    for number in range(64):
        image = images[number % 2]
        top, left = generator.integers(0, np.array(image.shape[:2]) - 32)
        crops.append(image[top : top + 32, left : left + 32])
    x = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    x = ((x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)).contiguous()
    labels = torch.from_numpy(generator.integers(0, 100, 64))
    plain = Shown(x, labels, CLASSES)
    return Shown(x, labels, CLASSES, Candidate(shape_of((18, 18, 18)), seed + 1, plain).look)
