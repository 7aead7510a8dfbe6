"""
Untrained nets of several families through `edgekd export`: which layers run as integers, how far the runtimes are from
the quantised graph, and how many times faster each variant is. One table.

    python benchmarks/zoo.py [--folder zoo] [--only resnet18]

Weights are random, so accuracy says nothing and is not asked for; samples are random images and token ids.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import models
import numpy as np
from about import machine

from edgekd.deploy.bundle import Built
from edgekd.exporting import export

NAMES = ("resnet18", "mobilenet-v2-224", "mobilenet-v1-025-96", "odd-channels", "vit-tiny-224", "transformer-6")
SAMPLES = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[1])
    parser.add_argument("--folder", type=Path, default=Path("zoo"))
    parser.add_argument("--only", action="append")
    arguments = parser.parse_args()
    done = {}
    for name in arguments.only or NAMES:
        model = models.make(name, arguments.folder)
        done[name] = export(
            model, samples(name, arguments.folder), trained=False, out=arguments.folder / "dist",
            workspace=arguments.folder / "workspace",
        )  # fmt: skip
        print(f"{name}: {done[name].report['shipped']}", flush=True)
    print(table(done))


def samples(name: str, folder: Path) -> Path:
    """What the model reads, drawn at random under its inputs' names."""
    path = folder / f"{name}.npz"
    if not path.is_file():
        _, inputs, names = models.MAKERS[name]()
        draw = np.random.default_rng(0)
        arrays = {}
        for key, example in zip(names, inputs, strict=True):
            shape = (SAMPLES, *example.shape[1:])
            if example.is_floating_point():
                arrays[key] = draw.standard_normal(shape).astype(np.float32)
            elif key == "input_ids":
                arrays[key] = draw.integers(1000, 20000, shape)
            else:
                arrays[key] = np.ones(shape, np.int64)
        np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def table(done: dict[str, Built]) -> str:
    measured = next(iter(done.values())).report["measurement"]
    lines = [
        machine(measured),
        "",
        "| model | variant | times faster | p50 ms | MB | integer layers | steps p99 | steps max | ships |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, shipped in done.items():
        report = shipped.report
        for variant, row in report["variants"].items():
            parity, covered = row["parity"], row["coverage"]
            steps = [parity[key] for key in ("steps_p99", "steps_max")]
            speedup = "1" if variant == report["base"] else "{:.2f} [{:.2f}, {:.2f}]".format(*row["speedup"])
            cells = [
                name, variant, speedup, f"{row['latency']['latency_p50_ms'][0]:.2f}", f"{row['size_bytes'] / 1e6:.2f}",
                f"{covered['integer']} of {covered['total']}",
                *("" if step is None else f"{step:.1f}" for step in steps),
                "ships" if variant == report["shipped"] else "",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
        lines += [f"| {name} | {variant} | not written: {why} |" for variant, why in report["not_written"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
