"""Latencies that nobody has to measure: a function of a net's kernels, with what makes real ones hard to add up."""

from __future__ import annotations

import math

import numpy as np

from edgekd.hardware.fingerprint import cpu
from edgekd.hardware.kernels import Kernel, kernels
from edgekd.hardware.latencies import Conditions, LatencyTable
from edgekd.hardware.profile import load_profile
from edgekd.models.shape import NetShape
from edgekd.search.space import sample
from edgekd.search.spaces import ResidualCnnSpace

SPACE = ResidualCnnSpace(kinds=("residual", "plain", "skip", "inverted"), kernels=(3, 5))


RUNTIME = load_profile("local-cpu").runtime("onnxruntime")
IMAGE, CLASSES = (3, 32, 32), 10


def somewhere(**other: object) -> Conditions:
    said = {
        "device": cpu(), "runtime": RUNTIME, "versions": {"onnxruntime": "1"},
        "quantised": True, "image": IMAGE, "classes": CLASSES,
    }  # fmt: skip
    return Conditions.model_validate(said | other)


def analytic_ms(shape: NetShape) -> float:
    return 0.02 + sum(_one_ms(kernel) for kernel in kernels(shape, IMAGE, CLASSES, quantised=True))


def _one_ms(kernel: Kernel) -> float:
    """3 us a call, and multiplications that few channels or few pixels make dearer, as on real vectors."""
    rate: float = {"depthwise": 8e6, "pointwise": 40e6}.get(kernel.kind, 60e6)  # a ms
    rate *= math.pow(min(1.0, kernel.channels_in / 24), 0.3)
    rate *= math.pow(min(1.0, kernel.rows * kernel.columns / 64), 0.2)
    return 0.003 + kernel.macs / rate + kernel.rows * kernel.columns * kernel.channels / 400e6


def table(nets: int, seed: int, noise: float = 0.0) -> LatencyTable:
    shapes = sample(SPACE, nets, seed)
    errors = np.exp(noise * np.random.default_rng(seed).standard_normal(nets))
    made = LatencyTable(schema=1, conditions=somewhere()).planned(shapes, nets)
    times = tuple(float(analytic_ms(shape) * error) for shape, error in zip(shapes, errors, strict=True))
    return made.with_batch(0, made.batches[0].with_process(0.2, times))
