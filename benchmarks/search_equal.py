"""
At equal parameters: a searched student against the ResNet that people take, both as exported int8, on CIFAR-10.

    python benchmarks/search_equal.py DATA [--folder equal] [--hand-made resnet20] [--runtime onnxruntime]
        [--shapes 1500] [--faster 1.33] [--rounds 24x3,8x6] [--epochs 10] [--seeds 3]

Shapes of three kinds of blocks with as many parameters as the hand-made net (within 5 %) are measured beside it, as
int8 with random weights. Of those that are 1.33 times as fast and more, the 24 with most multiply-accumulates are
distilled for 3 epochs, and the best eight of them on val for 6; the best goes on. Then both are distilled with the same
recipe, views, epochs and seeds, quantised without training, exported, measured side by side, and judged in the runtime
on 2,000 clean images. Interrupted runs go on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import bakeoff_cifar
import cifar
import numpy as np
from about import versions
from search_cifar import Lab

from edgekd.cli.progress import Watcher
from edgekd.deploy.evaluate import correct
from edgekd.distill import stages as distill
from edgekd.distilling import student_shape
from edgekd.engine.events import Progress
from edgekd.engine.executor import Builder
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact, Store
from edgekd.engine.workspace import temporary_files_in
from edgekd.hardware.measure import result
from edgekd.hardware.profile import load_profile
from edgekd.models import checkpoint
from edgekd.models.residual_cnn import mac_count
from edgekd.models.shape import NetShape, parameters
from edgekd.pipeline import pipeline_of
from edgekd.search.latency import as_model, compared
from edgekd.search.space import draw
from edgekd.search.spaces import ResidualCnnSpace
from edgekd.search.stages import QUICKLY
from edgekd.stats import mean_interval, paired_difference
from edgekd.target import Target

SPACE = ResidualCnnSpace(
    stem_widths=(16, 24, 32), stem_strides=(1, 2), stem_kernels=(3, 4), first_strides=(1, 2), stages=(2, 3),
    blocks=(1, 2, 3, 4),
    kinds=("residual", "plain", "skip"), kernels=(3,), inner=(0.5, 1.0), width_min=16, width_max=128, width_step=8,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("equal"))
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--hand-made", default="resnet20")
    parser.add_argument("--shapes", type=int, default=1500)
    parser.add_argument("--faster", type=float, default=1.33, help="with random weights, at least")
    parser.add_argument("--rounds", default="24x3,8x6", help="students x epochs of each, as search.race has them")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="float32", help="of training: bfloat16 where the CPU has units for it")
    asked = parser.parse_args()
    tree = bakeoff_cifar.tree(asked)
    tree["distill"]["precision"] = asked.precision
    pipeline = pipeline_of(tree, "equal")
    profile = load_profile("local-cpu")
    profile = profile.model_copy(update={"runtimes": (profile.runtime(asked.runtime),)})
    store = Store(asked.folder / "workspace")
    with temporary_files_in(store.root):
        builder = Builder(store, Watcher())
        lab, target = Lab(builder, pipeline), Target.of(builder, pipeline, profile)
        usual = student_shape(asked.hand_made)
        shapes = alike(usual, asked.shapes)
        kept = asked.folder / f"equal-{asked.hand_made}-{asked.shapes}-{asked.runtime}.json"
        faster = measured([usual, *shapes], target, kept)
        fast = [shape for shape, ratio in zip(shapes, faster, strict=True) if ratio >= asked.faster]
        left = sorted(fast, key=lambda shape: -work_of(shape))
        for students, epochs in (map(int, each.split("x")) for each in asked.rounds.split(",")):
            reached = {shape: judged(lab, distilled(lab, shape, epochs, 0), "val") for shape in left[:students]}
            left = sorted(reached, key=lambda shape: -reached[shape])
        chosen = left[0]
        rows = [
            side_by_side(lab, target, {"hand-made": usual, "searched": chosen}, asked.epochs, seed)
            for seed in range(asked.seeds)
        ]
    print(f"{target.cpu.model}; {asked.runtime}, one thread. {versions()}\n")
    print(told(asked, chosen, len(fast), rows))


def alike(usual: NetShape, count: int) -> list[NetShape]:
    """Shapes with as many parameters as the net that was made by hand."""
    generator, wanted, found = np.random.default_rng(0), parameters(usual), dict[NetShape, None]()
    while len(found) < count:
        shape = SPACE.shape(draw(SPACE, generator))
        if abs(parameters(shape) / wanted - 1) <= 0.05:
            found.setdefault(shape)
    return list(found)


def work_of(shape: NetShape) -> int:
    return mac_count(checkpoint.build(shape, cifar.CLASSES, 3, seed=0).net, (3, 32, 32))


def measured(shapes: list[NetShape], target: Target, kept: Path) -> list[float]:
    """How many times as fast as the first one each of the others is, with random weights."""
    if not kept.is_file():
        work = kept.with_suffix(".files")
        models = {
            f"c{number}": as_model(
                shape, cifar.CLASSES, (3, 32, 32), target.pipeline.preprocess, target.runtime, target.cpu,
                work / str(number),
            )
            for number, shape in enumerate(shapes)
        }  # fmt: skip
        found = compared(models, QUICKLY, Progress(Watcher()))
        kept.write_text(json.dumps({name: row.value for name, row in found.speedup_over["c0"].items()}), "utf-8")
    rows = json.loads(kept.read_text("utf-8"))
    return [rows[f"c{number}"] for number in range(1, len(shapes))]


def distilled(lab: Lab, shape: NetShape, epochs: int, seed: int) -> Artifact:
    at = Coordinates(student=f"{parameters(shape):,} parameters, {epochs} epochs, seed {seed}")
    plan = lab.pipeline.distill
    train = plan.training.model_copy(update={"epochs": epochs, "seed": seed, "precision": plan.precision})
    settings = distill.of(plan, lab.pipeline.preprocess, lab.pipeline.views).model_copy(
        update={"train": train, "start": "fresh"}
    )
    student = lab.call(distill.GIVEN, distill.GiveStudent(shape=shape), {}, at)
    return lab.call(distill.FLOAT, settings, {"data": lab.data, "student": student, "targets": lab.targets}, at)


def judged(lab: Lab, net: Artifact, split: str) -> int:
    settings = distill.Judge(split=split, preprocess=lab.pipeline.preprocess, threads=lab.pipeline.distill.threads)
    return lab.call(distill.JUDGE, settings, {"net": net, "data": lab.data}).json("metrics.json")["right"]


def side_by_side(lab: Lab, target: Target, shapes: dict[str, NetShape], epochs: int, seed: int) -> dict[str, Any]:
    """Both nets of one seed: answers of the int8 files, and how much faster the searched one's is."""
    models = {}
    for name, shape in shapes.items():
        net = distilled(lab, shape, epochs, seed)
        hub = target.ptq(net, lab.data, target.dialect, target.runtime)
        models[name] = target.export(hub, Coordinates(student=f"{name}, seed {seed}"), target.runtime)
    right = {name: correct(target.evaluate(model, lab.data, "test", name)) for name, model in models.items()}
    seen = result.read(target.compare(models, ("hand-made",), f"seed {seed}"))
    return {
        "right": right,
        "faster": seen.speedup_over["hand-made"]["searched"],
        "ms": {name: row.latency_p50_ms.value for name, row in seen.models.items()},
    }


def told(asked: argparse.Namespace, chosen: NetShape, fast: int, rows: list[dict[str, Any]]) -> str:
    wanted = parameters(student_shape(asked.hand_made))
    lines = [
        f"{fast} of {asked.shapes} shapes are {asked.faster:g} times as fast as {asked.hand_made} and more, which has "
        f"{wanted:,} parameters. Searched: {parameters(chosen):,} parameters, "
        f"{chosen.model_dump_json(exclude_defaults=True)}.", "",
        f"| seed, {asked.epochs} epochs | hand-made, int8, % | ms | searched, int8, % | ms | times as fast | points "
        "apart |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for seed, row in enumerate(rows):
        own, theirs, ratio = row["right"]["searched"], row["right"]["hand-made"], row["faster"]
        apart = paired_difference(theirs, own)
        lines.append(
            f"| {seed} | {100 * theirs.mean():.2f} | {row['ms']['hand-made']:.3f} | {100 * own.mean():.2f} | "
            f"{row['ms']['searched']:.3f} | {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] | "
            f"{apart.value:+.2f} [{apart.low:+.2f}, {apart.high:+.2f}] |"
        )
    points = [100 * float(row["right"]["searched"].mean() - row["right"]["hand-made"].mean()) for row in rows]
    if len(points) > 1:
        mean = mean_interval(points)
        lines.append(f"\nOver {len(points)} seeds: {mean.value:+.2f} [{mean.low:+.2f}, {mean.high:+.2f}] points.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
