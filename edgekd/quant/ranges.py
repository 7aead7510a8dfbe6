"""Ranges of activations: what to clip, so that the rest has finer steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import CalibrationDataReader, HistogramCalibrater

Histogram = tuple[NDArray[np.int64], NDArray[np.float64]]  # counts [B], edges [B + 1]
Cost = Callable[[NDArray[np.int64], NDArray[np.float64], float, float, int], float]
SHARES = np.linspace(0.3, 1.0, 36)  # of the whole range, that are tried


def histograms(
    model: Path, samples: CalibrationDataReader, kinds: Sequence[str], scratch: Path
) -> dict[str, Histogram]:
    """Of every activation that would be quantised, by the tensor's name."""
    calibrater = HistogramCalibrater(
        str(model), list(kinds), str(scratch / "augmented.onnx"), method="percentile", num_bins=2048
    )
    calibrater.augment_graph()
    calibrater.create_inference_session()
    calibrater.collect_data(samples)
    found: Mapping[str, Any] = calibrater.collector.histogram_dict
    return {name: (np.asarray(row[0]), np.asarray(row[1], np.float64)) for name, row in found.items()}


def best_ranges(
    found: Mapping[str, Histogram], cost: Cost, levels: int, symmetric: bool
) -> dict[str, tuple[float, float]]:
    """The range (low, high) of each tensor that costs least."""
    return {name: best_range(counts, edges, cost, levels, symmetric) for name, (counts, edges) in found.items()}


def best_range(
    counts: NDArray[np.int64], edges: NDArray[np.float64], cost: Cost, levels: int, symmetric: bool
) -> tuple[float, float]:
    """Try ends at shares of the observed ones; 0 is always inside. The whole range where nothing costs less."""
    seen = np.flatnonzero(counts)
    if not len(seen):
        return 0.0, 0.0
    low, high = min(0.0, float(edges[seen[0]])), max(0.0, float(edges[seen[-1] + 1]))
    if symmetric:
        high = max(high, -low)
        low = -high
    shares = SHARES[::-1]
    pairs = [(low * share, high * share) for share in shares]
    if not symmetric:
        pairs += [(low, high * share) for share in shares] + [(low * share, high) for share in shares]
    costs = [cost(counts, edges, a, b, levels) for a, b in pairs]
    return pairs[int(np.argmin(costs))]


def square_error(counts: NDArray[np.int64], edges: NDArray[np.float64], low: float, high: float, levels: int) -> float:
    """
    Rounding to steps of s costs s^2 / 12 within the range, clipping its square distance outside.

    Banner, Nahshan, Soudry, "Post training 4-bit quantization of convolutional networks", 2019, section 2, from data
    instead of a fitted distribution.
    """
    centres = (edges[:-1] + edges[1:]) / 2
    step = (high - low) / (levels - 1)
    clipped = np.where(centres < low, low - centres, np.where(centres > high, centres - high, 0.0))
    inside = (clipped == 0) & (centres != 0)  # a zero is kept as it is
    return float((counts * np.square(clipped)).sum() + (counts * inside).sum() * step**2 / 12)


def divergence(counts: NDArray[np.int64], edges: NDArray[np.float64], low: float, high: float, levels: int) -> float:
    """
    Kullback-Leibler divergence of the clipped distribution from its quantised one.

    Migacz, "8-bit inference with TensorRT", 2017: outliers are added to the last bins of the one, not of the other.
    ONNX Runtime's own entropy calibration has as many bins as levels by default, and so keeps the whole range always.
    """
    centres = (edges[:-1] + edges[1:]) / 2
    inside = np.flatnonzero((centres >= low) & (centres <= high))
    if not len(inside):
        return np.inf
    own = counts[inside].astype(np.float64)
    clipped = own.copy()
    clipped[0] += counts[: inside[0]].sum()
    clipped[-1] += counts[inside[-1] + 1 :].sum()
    group = np.clip(((centres[inside] - low) / (high - low) * levels).astype(int), 0, levels - 1)
    filled = clipped > 0
    totals, sizes = np.bincount(group, own), np.bincount(group, filled.astype(float))
    quantised = np.where(filled, totals[group] / np.maximum(sizes[group], 1), 0.0)
    p, q = clipped[filled] / clipped.sum(), np.maximum(quantised[filled], 1e-4) / max(quantised.sum(), 1e-4)
    return float((p * np.log(p / q)).sum())
