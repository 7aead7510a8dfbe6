"""
What ways to choose units keep without any training, at the same share of multiply-accumulates: pretrained ResNets.

    python benchmarks/prune_scores.py DATA [--folder prune-scores] [--net resnet20] [--shares 0.85,0.7,0.5] [--step 4]

* trajectory, answers: units by ZipLM's order, widths by what they change in all later stages (OPTIN, [88]), or in the
  logits alone; the weights of what reads them are solved anew. 256 training images.
* magnitude, uniform: the filters of least weight anywhere; the same share of every block. Weights as they are.

Batch norms see 2,048 training images anew in all of them. Judged is the float net on the 2,000 clean images of the test
split, which it has not seen; intervals are of paired differences from magnitude, 90 %.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import cifar
import numpy as np
import torch
from about import versions
from torch import Tensor

from edgekd.models import checkpoint
from edgekd.models.residual_cnn import ResidualCnnForImageClassification, mac_count
from edgekd.prune.choice import Worth, by_norm, chosen
from edgekd.prune.cut import make_up
from edgekd.prune.ladder import BATCH, removed, said, shift, spared
from edgekd.prune.places import rungs, units_of
from edgekd.prune.stages import By, Judged
from edgekd.prune.structure import pruned
from edgekd.stats import paired_difference
from edgekd.train.average import norms_anew

IMAGE = (3, 32, 32)
WAYS: dict[str, tuple[By, Judged]] = {
    "trajectory": ("latency", "trajectory"),
    "answers": ("latency", "answers"),
    "magnitude": ("magnitude", "answers"),
    "uniform": ("uniform", "answers"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("prune-scores"))
    parser.add_argument("--net", choices=cifar.BLOCKS, default="resnet20")
    parser.add_argument("--shares", default="0.85,0.7,0.5")
    parser.add_argument("--step", type=int, default=4)
    parser.add_argument("--images", type=int, default=256)
    asked = parser.parse_args()
    folder = cifar.as_folder(asked.net, asked.data, asked.folder)
    train = np.load(asked.data / "cifar10_dev.npz")["x_train"][:2048]
    clean = np.load(asked.data / "cifar10_clean.npz")
    x, judged = (torch.from_numpy(cifar.read(images)) for images in (train, clean["x"]))
    whole = right(checkpoint.load(folder), judged, clean["y"])
    worths = {
        way: worth_of(checkpoint.load(folder), x[: asked.images], asked.step, way) for way in ("trajectory", "answers")
    }
    print(f"{versions()}\n\n{asked.net}: {100 * whole.mean():.2f} % right, n {len(whole)}.\n")
    print("| share of MACs | chosen by | share left | % right, untrained | against magnitude, points | s to score |")
    print("|---|---|---|---|---|---|")
    for share in map(float, asked.shares.split(",")):
        found = {}
        for name, (by, way) in WAYS.items():
            worth, tensors, seconds = worths[way]
            net = cut(checkpoint.load(folder), worth, tensors, by, share)
            see(net, x)
            left = mac_count(net.net, IMAGE) / mac_count(checkpoint.load(folder).net, IMAGE)
            found[name] = (right(net, judged, clean["y"]), left, seconds if by == "latency" else 0.0)
        for name, (correct, left, seconds) in found.items():
            apart = "{:+.2f} [{:+.2f}, {:+.2f}]".format(*paired_difference(found["magnitude"][0], correct))
            print(
                f"| {share:g} | {name} | {left:.3f} | {100 * correct.mean():.2f} | {apart} | {seconds:.0f} |",
                flush=True,
            )


def worth_of(
    model: ResidualCnnForImageClassification, x: Tensor, step: int, way: Judged
) -> tuple[Worth, dict[str, Tensor], float]:
    """Errors of every rung, and the share of multiply-accumulates that it saves; the weights that readers take."""
    start = time.perf_counter()
    model.eval()
    shape, whole = model.config.shape, said(model.net, x, way)
    errors: dict[str, dict[int, float]] = {}
    saved: dict[str, dict[int, float]] = {}
    tensors: dict[str, Tensor] = {}
    for units in units_of(shape):
        stops = rungs(units, step, shape)
        order, weights = removed(model.net, units, x, set(stops))
        tensors[f"{units.name}.order"] = torch.tensor(order)
        errors[units.name] = {stays: shift(model.net, units, weights[stays], stays, x, whole) for stays in stops}
        saved[units.name] = dict(zip(stops, spared(model, units, stops, IMAGE), strict=True))
        for stays in stops:
            tensors |= {f"{units.name}.{stays}.{layer}": value for layer, value in weights[stays].items() if stays}
    sizes = {units.name: units.size for units in units_of(shape)}
    return Worth(errors, saved, sizes), tensors, time.perf_counter() - start


def cut(
    model: ResidualCnnForImageClassification, worth: Worth, tensors: dict[str, Tensor], by: By, share: float
) -> ResidualCnnForImageClassification:
    stays = chosen(worth, model, by, share)
    assert stays is not None, f"nothing is as small as {share}"
    places = [units for units in units_of(model.config.shape) if units.name in stays]
    if by == "latency":
        make_up(model.net, places, stays, tensors)
    order: dict[str, Any] = {
        units.name: tensors[f"{units.name}.order"] if by == "latency" else by_norm(model, units) for units in places
    }
    kept = {name: order[name][len(order[name]) - count :].sort().values for name, count in stays.items()}
    return pruned(model, kept)


def see(model: ResidualCnnForImageClassification, x: Tensor) -> None:
    model.net.train()
    with norms_anew(model.net), torch.no_grad():
        for batch in x.split(BATCH):
            model.net(batch)
    model.net.eval()


@torch.no_grad()
def right(model: ResidualCnnForImageClassification, x: Tensor, labels: np.ndarray) -> np.ndarray:
    model.eval()
    found = torch.cat([model.net(batch) for batch in x.split(BATCH)]).argmax(1).numpy()
    return np.asarray(found == labels)


if __name__ == "__main__":
    main()
