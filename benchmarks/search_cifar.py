"""
What training-free scores are worth: students that were really distilled on CIFAR-10, and how each score ranks them.

    python benchmarks/search_cifar.py DATA [--folder search] [--students 32] [--draw 0] [--threads 1] [--part 0/1]

300 candidates vary in stem, width, depth, kernel and kind of block. All are scored; the first of them that ask for at
most 30 M multiply-accumulates are distilled from ResNet-56, for the same few epochs over the same kept views; all of
those are measured as int8 in ONNX Runtime, in one comparison. Then, for each score and for the default ranking:
Kendall's tau with the accuracy on 2,000 clean images, and the points that its pick loses under three budgets of
measured latency (the quartiles). Intervals are percentiles over students drawn again. Interrupted runs go on;
`--draw 1` takes other students, which did not choose the default, and `--draw 0 --draw 1` those of both; `--part 1/2`
trains every second student, so that two processes share the work.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bakeoff_cifar
import cifar
import numpy as np
from about import versions

from edgekd.cli.progress import Watcher
from edgekd.data.dataset import Dataset
from edgekd.distill import stages as distill
from edgekd.engine.events import Progress
from edgekd.engine.executor import Builder
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact, Store
from edgekd.engine.workspace import temporary_files_in
from edgekd.hardware.profile import load_profile, this_cpu
from edgekd.models.shape import resnet, shape_of
from edgekd.pipeline import Pipeline, pipeline_of
from edgekd.search import stages as search
from edgekd.search.choose import by_mean_rank
from edgekd.search.latency import as_model, compared
from edgekd.search.ranking import regret, resampled, tau
from edgekd.search.scores.plugins import PLUGINS
from edgekd.search.spaces import ResidualCnnSpace
from edgekd.search.stages import QUICKLY
from edgekd.sources import dataset_of, teacher_of
from edgekd.teacher import stages as teacher
from edgekd.teacher.stages import KeptViews

SPACE = ResidualCnnSpace(
    stem_widths=(8, 16, 24), stem_strides=(1, 2), stem_kernels=(3, 4), stages=(2, 3), blocks=(1, 2),
    kinds=("residual", "plain", "skip"), kernels=(3, 5), inner=(0.5, 1.0), width_min=16, width_max=96, width_step=8,
)  # fmt: skip
CANDIDATES, MOST_MACS, EPOCHS = 300, 30e6, 5
NAMES = tuple(PLUGINS)
QUICK = ("params", "macs", "synflow")
DEFAULT = ("params", "macs")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("search"))
    parser.add_argument("--students", type=int, default=32)
    parser.add_argument("--draw", type=int, action="append")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part", default="0/1")
    asked = parser.parse_args()
    pipeline = pipeline_of(bakeoff_cifar.tree(asked), "search")
    asked.folder.mkdir(parents=True, exist_ok=True)
    store = Store(asked.folder / "workspace")
    with temporary_files_in(store.root):
        chosen, reached, latencies = [], [], []
        for draw in asked.draw or [0]:
            lab = Lab(Builder(store, Watcher()), pipeline, draw)
            some = [c for c in lab.candidates() if c["scores"]["macs"] <= MOST_MACS][: asked.students]
            number, parts = map(int, asked.part.split("/"))
            for candidate in some[number::parts]:
                lab.accuracy(candidate)
            if parts > 1:
                continue
            reached += [lab.accuracy(candidate) for candidate in some]
            latencies += measured(some, pipeline, asked.folder / f"latencies-{draw}.json")
            chosen += [candidate | {"id": f"{draw}.{candidate['id']}"} for candidate in some]
    if chosen:
        print(f"{this_cpu(load_profile('local-cpu')).model}. {versions()}\n")
        print(table(chosen, reached, latencies))


class Lab:
    """What all candidates share: the data, the teacher, its targets."""

    def __init__(self, builder: Builder, pipeline: Pipeline, draw: int = 0) -> None:
        self.call, self.pipeline, self.draw = builder.call, pipeline, draw
        self.data = dataset_of(builder, pipeline)
        self.master, _ = teacher_of(builder, pipeline, self.data)
        self.targets = self.call(
            teacher.TARGETS,
            teacher.MakeTargets(
                kept=KeptViews(views=8), views=pipeline.views, preprocess=pipeline.preprocess,
                threads=pipeline.distill.threads,
            ),
            {"data": self.data, "teacher": self.master},
        )  # fmt: skip

    def scores(self, names: Sequence[search.ScoreName]) -> Artifact:
        settings = search.Score(
            space=SPACE, candidates=CANDIDATES, teacher=resnet(56), preprocess=self.pipeline.preprocess, scores=names,
            seed=self.draw,
        )  # fmt: skip
        return self.call(search.SCORE, settings, {"data": self.data, "teacher": self.master})

    def candidates(self) -> list[dict[str, Any]]:
        return self.scores(NAMES).json("scores.json")["candidates"]

    def accuracy(self, candidate: dict[str, Any]) -> float:
        """Of this candidate, distilled; % of the clean images."""
        at = Coordinates(student=candidate["id"])
        student = self.call(distill.GIVEN, distill.GiveStudent(shape=shape_of(candidate["shape"])), {}, at)
        plan = self.pipeline.distill
        settings = distill.of(plan, self.pipeline.preprocess, self.pipeline.views).model_copy(
            update={"train": plan.training.model_copy(update={"epochs": EPOCHS}), "start": "fresh"}
        )
        inputs = {"data": self.data, "student": student, "targets": self.targets}
        net = self.call(distill.FLOAT, settings, inputs, at)
        judge = distill.Judge(split="test", preprocess=self.pipeline.preprocess, threads=plan.threads)
        told = self.call(distill.JUDGE, judge, {"net": net, "data": self.data}, at).json("metrics.json")
        return 100 * told["right"] / len(Dataset(self.data).split("test"))


def measured(chosen: Sequence[dict[str, Any]], pipeline: Pipeline, kept: Path) -> list[float]:
    """Ms of each, int8 in ONNX Runtime; once for all."""
    if not kept.is_file():
        profile = load_profile("local-cpu")
        spec, device = profile.runnable[0], this_cpu(profile)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            models = {
                c["id"]: as_model(shape_of(c["shape"]), cifar.CLASSES, (3, 32, 32), pipeline.preprocess, spec, device,
                                  Path(folder) / c["id"])
                for c in chosen
            }  # fmt: skip
            found = compared(models, QUICKLY.model_copy(update={"processes": 6}), Progress(Watcher()))
        rows = {name: figures.latency_p50_ms.value for name, figures in found.models.items()}
        told = {"seconds": time.perf_counter() - start, "noise": str(found.noise), "latency_p50_ms": rows}
        kept.write_text(json.dumps(told, indent=1), "utf-8")
    rows = json.loads(kept.read_text("utf-8"))["latency_p50_ms"]
    return [rows[c["id"]] for c in chosen]


def table(chosen: Sequence[dict[str, Any]], reached: Sequence[float], latencies: Sequence[float]) -> str:
    limits = [float(np.quantile(latencies, share)) for share in (0.25, 0.5, 0.75)]
    order = {c["id"]: -place for place, c in enumerate(by_mean_rank(chosen, DEFAULT))}
    rows = {name: [c["scores"][name] for c in chosen] for name in NAMES}
    rows["default: " + ", ".join(DEFAULT)] = [order[c["id"]] for c in chosen]
    rows["the latency itself"] = list(latencies)
    lines = [
        f"n = {len(chosen)} students, {EPOCHS} epochs; accuracy {min(reached):.2f} to {max(reached):.2f} %, latency "
        f"{min(latencies):.3f} to {max(latencies):.3f} ms; budgets {', '.join(f'{limit:.3f}' for limit in limits)} ms.",
        "", "| score | Kendall's tau [95 %] | regret, points, under each budget | mean [95 %] |", "|---|---|---|---|",
    ]  # fmt: skip
    for name, row in sorted(rows.items(), key=lambda one: -tau([-1e30 if v is None else v for v in one[1]], reached)):
        values = [-1e30 if value is None else value for value in row]
        each = [regret(values, reached, latencies, limit) for limit in limits]
        lines.append(
            f"| {name} | {over(lambda r, v=values: tau(part(v, r), part(reached, r)), len(reached))} | "
            f"{', '.join(f'{value:.2f}' for value in each)} | "
            f"{over(lambda r, v=values: mean_regret(v, reached, latencies, limits, r), len(reached))} |"
        )
    own, params = rows["default: " + ", ".join(DEFAULT)], rows["params"]
    apart = over(
        lambda r: mean_regret(own, reached, latencies, limits, r) - mean_regret(params, reached, latencies, limits, r),
        len(reached),
    )
    lines += ["", f"Mean regret of the default less that of parameters, of the same students: {apart} points."]
    return "\n".join(lines)


def mean_regret(
    scores: Sequence[float], reached: Sequence[float], costs: Sequence[float], limits: Sequence[float], rows: Any
) -> float:
    """Of these rows; a budget that none of them keeps says nothing."""
    cost = part(costs, rows)
    kept = [regret(part(scores, rows), part(reached, rows), cost, limit) for limit in limits if min(cost) <= limit]
    return float(np.mean(kept))


def part(values: Sequence[float], rows: Sequence[int]) -> list[float]:
    return [values[row] for row in rows]


def over(value: Callable[[Any], float], count: int) -> str:
    found = resampled(value, count)
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


if __name__ == "__main__":
    main()
