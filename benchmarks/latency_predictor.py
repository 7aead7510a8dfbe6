"""
How far predicted latencies are off, of architectures that were held out, beside what counts of work say.

    python benchmarks/latency_predictor.py [--folder latency-predictor] [--nets 320] [--passes 3]

Nets of four spaces, 32 x 32 x 3 images, 10 classes, one thread; ONNX Runtime int8 and fp32, LiteRT int8. Each is
predicted by a predictor that has not seen it (5 folds of architectures, drawn at random). About 40 minutes on two
shared x86 cores; interrupted runs go on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from about import versions
from scipy.stats import spearmanr

from edgekd.engine.events import Progress, Silent
from edgekd.hardware.accuracy import FOLDS, held_out
from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.kernels import Kernel, kernels
from edgekd.hardware.latencies import LatencyTable, conditions, opened
from edgekd.hardware.profile import load_profile, this_cpu
from edgekd.models.shape import NetShape
from edgekd.search.calibrate import InProcesses, calibrated
from edgekd.search.space import drawn
from edgekd.search.spaces import MobileCnnSpace, PlainCnnSpace, ResidualCnnSpace

IMAGE, CLASSES = (3, 32, 32), 10
MIXED = ResidualCnnSpace(
    kinds=("residual", "plain", "skip", "inverted"), kernels=(3, 5), stem_kernels=(3, 4, 6), blocks=(1, 2, 3)
)
SPACES = (ResidualCnnSpace(), PlainCnnSpace(), MobileCnnSpace(), MIXED)
DRAWN = 480  # of which the first --nets are measured
CASES = (("onnxruntime", True), ("litert", True), ("onnxruntime", False))
Net = tuple[Kernel, ...]
Counts = Callable[[Net], tuple[float, ...]]
BASELINES: dict[str, Counts] = {
    "linear in multiplications": lambda net: (sum(k.macs for k in net),),
    "linear in weights": lambda net: (sum(k.weights for k in net),),
    "linear in multiplications and kernels": lambda net: (sum(k.macs for k in net), len(net)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("latency-predictor"))
    parser.add_argument("--nets", type=int, default=320)
    parser.add_argument("--passes", type=int, default=3)
    asked = parser.parse_args()
    print("| runtime | latencies, ms | predicted by | within 10 % | mean error | Spearman | in 90 % intervals | n |")
    print("|---|---|---|---|---|---|---|---|")
    for runtime, quantised in CASES:
        table = tabled(runtime, asked.folder, asked.nets, asked.passes, quantised=quantised)
        print("\n".join(rows(table)), flush=True)
    print(f"\n{cpu().model}, {', '.join(cpu().isa)}. {versions()}")


def tabled(runtime: str, folder: Path, nets: int, passes: int, *, quantised: bool) -> LatencyTable:
    """Measured, or read where that was done before."""
    profile = load_profile("local-cpu")
    where = conditions(this_cpu(profile), profile.runtime(runtime), IMAGE, CLASSES, quantised=quantised)
    path = folder / where.file_name
    table = opened(path, where).planned(drawn(SPACES, DRAWN, seed=0)[:nets])
    with TemporaryDirectory() as files:
        return calibrated(table, passes, path, InProcesses(where, Path(files)), Progress(Silent()))


def rows(table: LatencyTable) -> list[str]:
    latencies = table.latencies_ms()
    low, middle, high = np.quantile(list(latencies.values()), [0, 0.5, 1])
    found = held_out(table)
    start = f"| {table.conditions.runtime.name} {'int8' if table.conditions.quantised else 'fp32'} "
    share = found.within_10_percent
    told = [
        f"{start}| {low:.2f} to {high:.2f}, median {middle:.2f} | **edgekd** | {share.value:.1f} % [{share.low:.1f}, "
        f"{share.high:.1f}] | {found.mape_percent:.1f} %, at most {found.worst_percent:.0f} % | {found.spearman:.4f} | "
        f"{found.covered_percent:.1f} % | {found.n}, {found.refused} refused |"
    ]
    return told + [f"| | | {name} | {baseline(latencies, table, counts)}" for name, counts in BASELINES.items()]


def baseline(latencies: dict[NetShape, float], table: LatencyTable, counts: Counts) -> str:
    """A constant and something a count, by least squares of relative errors; the same folds, nothing refused."""
    quantised = table.conditions.quantised
    units = np.array([(1.0, *counts(kernels(shape, IMAGE, CLASSES, quantised=quantised))) for shape in latencies])
    truth = np.array(list(latencies.values()))
    order = np.random.default_rng(0).permutation(len(truth))
    found = np.empty(len(truth))
    for fold in range(FOLDS):
        out = order[fold::FOLDS]
        rest = np.setdiff1d(order, out)
        weights, *_ = np.linalg.lstsq(units[rest] / truth[rest, None], np.ones(len(rest)))
        found[out] = units[out] @ weights
    error = np.abs(found / truth - 1)
    return (
        f"{100 * (error <= 0.1).mean():.1f} % | {100 * error.mean():.1f} %, at most {100 * error.max():.0f} % | "
        f"{spearmanr(found, truth).statistic:.4f} | | {len(truth)} |"
    )


if __name__ == "__main__":
    main()
