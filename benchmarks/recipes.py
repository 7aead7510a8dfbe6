"""
Which recipes of post-training quantisation help: accuracy of the pretrained ResNets in each dialect, by recipe.

    python benchmarks/recipes.py DATA [--folder recipes] [--package FOLDER]

512 samples calibrate, the others are judged, all from the test split that the nets have not seen (benchmarks/cifar.py).
The answers are those of the graph's own arithmetic, unfused and in float between Q and DQ: what is
compared is the recipe and not the kernels. Changes are against min-max, paired.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

import cifar
import numpy as np
from about import versions

from edgekd.deploy.given import float_answers
from edgekd.hardware.dialect import Dialect
from edgekd.quant.given import parts
from edgekd.quant.onnx_ptq import quantise
from edgekd.quant.stages import Adjustment, Calibration, Recipe
from edgekd.stats import paired_difference

RECIPES: tuple[Recipe, ...] = (*get_args(Calibration), *get_args(Adjustment))
DIALECTS = {
    "uint8, 7-bit weights": Dialect(activation="uint8-affine", reduced_range=True),
    "int8, 8-bit weights": Dialect(activation="int8-affine", reduced_range=False, logits="quantised"),
}
CALIBRATION = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("recipes"))
    parser.add_argument("--package", type=Path)
    asked = parser.parse_args()
    loaded = np.load(cifar.eval_npz(asked.data, asked.folder, asked.package))
    x, labels = cifar.read(loaded["images"]), loaded["labels"]
    print(versions())
    print(f"\n| net | dialect | recipe | % right (n {len(x) - CALIBRATION}) | against fp32 | against min-max |")
    print("|---|---|---|---|---|---|")
    for name in cifar.BLOCKS:
        model = cifar.as_onnx(name, asked.data, asked.folder)
        judged = x[CALIBRATION:]
        floats = float_answers(model, {"pixel_values": judged}).argmax(1) == labels[CALIBRATION:]
        for what, dialect in DIALECTS.items():
            plain = None
            for recipe in RECIPES:
                out = asked.folder / "quantised.onnx"
                quantise(model, {"pixel_values": x[:CALIBRATION]}, dialect, out, **parts(recipe))
                right = float_answers(out, {"pixel_values": judged}).argmax(1) == labels[CALIBRATION:]
                plain = right if plain is None else plain
                cells = [
                    name, what, recipe, f"{100 * right.mean():.2f}", change(floats, right),
                    "" if right is plain else change(plain, right),
                ]  # fmt: skip
                print(f"| {' | '.join(cells)} |", flush=True)


def change(before: np.ndarray, now: np.ndarray) -> str:
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*paired_difference(before, now))


if __name__ == "__main__":
    main()
