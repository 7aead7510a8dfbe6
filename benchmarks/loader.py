"""
How fast pictures come: augmented batches of 32 x 32, and JPEGs of 224 x 224 decoded against Pillow alone.

    python benchmarks/loader.py [--images 20000] [--jpegs 1500] [--repeats 5]

Rates are medians over repeats, interleaved, with the smallest and the largest. The JPEGs are crops of scikit-learn's
two photographs, quality 90.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from about import versions
from PIL import Image
from sklearn.datasets import load_sample_images

from edgekd.data import tensors
from edgekd.data.dataset import Samples
from edgekd.data.folder import listing
from edgekd.data.gather import decode, read_all
from edgekd.data.stages import FolderSource, Geometry, Preprocess, RandAugment, Views
from edgekd.engine.events import Progress, Silent
from edgekd.resources import cores
from edgekd.train.batches import views_of

BATCH = 128
STILL = Views(rotate_degrees=0, scale=0, shift=0)
PREPROCESS = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
VIEWS = {
    "affine, flip": Views(flip=True),
    "affine, flip, brightness, contrast, saturation": Views(flip=True, brightness=0.2, contrast=0.2, saturation=0.2),
    "the same and RandAugment, cutout, mixup, CutMix": Views(
        flip=True, brightness=0.2, contrast=0.2, saturation=0.2, rand_augment=RandAugment(), cutout=0.3, mixup=0.2,
        cutmix=1.0,
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--jpegs", type=int, default=1500)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(cores())
    print(f"{versions()}; {cores()} cores.\n")
    with tempfile.TemporaryDirectory() as folder:
        small(Path(folder), asked.images, asked.repeats)
        large(Path(folder), asked.jpegs, asked.repeats)


def small(folder: Path, count: int, repeats: int) -> None:
    """Augmented batches from a mapped file."""
    made = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    tensors.write(folder / "small.safetensors", {"images": (np.uint8, made.shape)}, [[made]])
    samples = Samples(tensors.mapped(folder / "small.safetensors")["images"], np.zeros(count, np.int64))

    def epoch(views: Views) -> None:
        for _ in views_of(samples, PREPROCESS, views, BATCH, 10)(torch.Generator().manual_seed(0)):
            pass

    print("| augmented 32 x 32 | images/s |\n|---|---|")
    rates = interleaved({name: lambda views=views: epoch(views) for name, views in VIEWS.items()}, count, repeats)
    for name, found in rates.items():
        print(f"| {name} | {told(found)} |")


def large(folder: Path, count: int, repeats: int) -> None:
    """Decoding into a dataset, hashes and thumbnails included, and decoding alone."""
    photos = folder / "photos"
    write_jpegs(photos, count)
    found = listing(FolderSource(source="folder", path=str(photos)))
    files = list(found.items)
    number = iter(range(10**6))

    def ours() -> None:
        scratch = folder / f"scratch-{next(number)}"
        scratch.mkdir()
        decode(found, Geometry(), 3, scratch, Progress(Silent()))
        for path in scratch.iterdir():
            path.unlink()

    def pillow() -> None:
        with ThreadPoolExecutor(cores()) as pool:
            for _ in pool.map(decoded, files):
                pass

    stored = np.stack([decoded(path) for path in files])
    tensors.write(folder / "large.safetensors", {"images": (np.uint8, stored.shape)}, [[stored]])
    samples = Samples(tensors.mapped(folder / "large.safetensors")["images"], np.zeros(count, np.int64))

    def epoch(views: Views) -> None:
        for _ in views_of(samples, PREPROCESS, views, 32, 10)(torch.Generator().manual_seed(0)):
            pass

    jobs: dict[str, Callable[[], object]] = {
        "Pillow alone": pillow,
        "edgekd, once: decoded, hashed, looked at": lambda: [None for _ in read_all(found, {}, 3)],
        "edgekd, once: the same and stored": ours,
        "edgekd, every epoch: batches that are normalised": lambda: epoch(STILL),
        "edgekd, every epoch: affine, flip": lambda: epoch(Views(flip=True)),
    }
    rates = interleaved(jobs, count, repeats)
    print("\n| JPEG of 224 x 224, as many threads as cores | images/s | of Pillow's |\n|---|---|---|")
    for name, seen in rates.items():
        ratios = sorted(a / b for a, b in zip(seen, rates["Pillow alone"], strict=True))
        print(f"| {name} | {told(seen)} | {statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}] |")


def decoded(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def write_jpegs(folder: Path, count: int) -> None:
    photographs = load_sample_images().images
    draw = np.random.default_rng(0)
    for number in range(count):
        photograph = photographs[number % 2]
        top, left = (int(draw.integers(0, side - 224)) for side in photograph.shape[:2])
        place = folder / ("china", "flower")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph[top : top + 224, left : left + 224]).save(place / f"{number}.jpg", quality=90)


def interleaved(jobs: Mapping[str, Callable[[], object]], count: int, repeats: int) -> dict[str, list[float]]:
    """Images per second of each, in turn; the first turn is not counted."""
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for repeat in range(repeats + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if repeat:
                found[name].append(count / (time.perf_counter() - start))
    return found


def told(rates: list[float]) -> str:
    return f"{statistics.median(rates):.0f} [{min(rates):.0f}, {max(rates):.0f}]"


if __name__ == "__main__":
    main()
