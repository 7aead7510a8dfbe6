"""
How training-free scores rank 64 ResNets whose distilled accuracy on CIFAR-100 others published, and what picks cost.

    python benchmarks/published_scores.py [--inits 3] [--json scores.json]

Figures: lilujunai/DisWOT-CVPR2023 (tests/published). Scores look at 64 crops, 32 x 32, of scikit-learn's photographs;
DisWOT's teacher is a ResNet-110 with random weights. Regret: points below the best net that nine budgets of MACs (the
deciles) allow, of the net that the score picks. Intervals are percentiles over nets drawn again with replacement.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from about import versions
from scipy.stats import spearmanr

from edgekd.cli.progress import Watcher
from edgekd.engine.events import Progress
from edgekd.hardware.fingerprint import cpu
from edgekd.search.choose import by_mean_rank
from edgekd.search.ranking import mean_regret, resampled, tau
from edgekd.search.scores.plugins import PLUGINS, Candidate
from edgekd.stats import Interval

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.published import Net, nets, photographs

NAMES = [name for name in PLUGINS if name != "teacher-cka"]  # there is no trained teacher of these nets


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--inits", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("published-scores.json"))
    asked = parser.parse_args()
    found = json.loads(asked.json.read_text("utf-8")) if asked.json.is_file() else {}
    progress = Progress(Watcher())
    for seed in range(asked.inits):
        if str(seed) not in found:
            found[str(seed)] = scored(seed, progress)
            asked.json.write_text(json.dumps(found), "utf-8")
    print(f"{cpu().model}, {asked.inits} initialisations. {versions()}\n")
    print(told([found[str(seed)] for seed in range(asked.inits)], nets()))


def scored(seed: int, progress: Progress) -> dict[str, list[float]]:
    shown, all_nets = photographs(seed), nets()
    rows: dict[str, list[float]] = {name: [] for name in NAMES}
    for net in progress.over(all_nets, len(all_nets), "net"):
        candidate = Candidate(net.shape, seed, shown)
        for name, row in rows.items():
            value = PLUGINS[name](candidate)
            assert value is not None
            row.append(value)
    return rows


def told(seeds: Sequence[dict[str, list[float]]], all_nets: Sequence[Net]) -> str:
    reached = [net.distilled for net in all_nets]
    costs = seeds[0]["macs"]
    lines = [
        "| score | Kendall's tau, mean over initialisations | each | of the mean score [95 %] | Spearman | "
        "mean regret, points [95 %] |",
        "|---|---|---|---|---|---|",
    ]
    rows = [(name, [seed[name] for seed in seeds]) for name in NAMES]
    rows.append(("accuracy without a teacher", [[net.alone for net in all_nets]] * len(seeds)))
    rows.append(("default: params, macs", [by_default(seed) for seed in seeds]))
    for name, row in sorted(rows, key=lambda one: -fmean(tau(values, reached) for values in one[1])):
        each = [tau(values, reached) for values in row]
        mean = np.mean(row, 0).tolist()
        lines.append(
            f"| {name} | {fmean(each):.3f} | {', '.join(f'{value:.2f}' for value in each)} | "
            f"{within(lambda r, m=mean: tau(part(m, r), part(reached, r)), len(reached))} | "
            f"{float(spearmanr(mean, reached).statistic):.3f} | "
            f"{within(lambda r, m=mean: mean_regret(part(m, r), part(reached, r), part(costs, r)), len(reached))} |"
        )
    return "\n".join(lines)


def by_default(seed: dict[str, list[float]]) -> list[float]:
    """The places, turned round: higher is better."""
    candidates = [
        {"id": number, "scores": dict(zip(seed, values, strict=True))}
        for number, values in enumerate(zip(*seed.values(), strict=True))
    ]
    places = {row["id"]: -place for place, row in enumerate(by_mean_rank(candidates, ("params", "macs")))}
    return [float(places[number]) for number in range(len(candidates))]


def part(values: Sequence[float], rows: Sequence[int]) -> list[float]:
    return [values[row] for row in rows]


def within(value: object, count: int) -> str:
    found: Interval = resampled(value, count)  # type: ignore[arg-type]
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


if __name__ == "__main__":
    main()
