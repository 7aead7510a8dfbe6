"""Ranges of activations: what to clip, so that the rest has finer steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import CalibrationDataReader, HistogramCalibrater

Histogram = tuple[NDArray[np.int64], NDArray[np.float64]]  # counts [B], edges [B + 1]
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


def least_squares(found: Mapping[str, Histogram], levels: int, symmetric: bool) -> dict[str, tuple[float, float]]:
    """The range (low, high) of each tensor with the least mean square of rounding and clipping together."""
    return {name: least_square(counts, edges, levels, symmetric) for name, (counts, edges) in found.items()}


def least_square(
    counts: NDArray[np.int64], edges: NDArray[np.float64], levels: int, symmetric: bool
) -> tuple[float, float]:
    """
    Try ends at shares of the observed ones; 0 is always inside.

    Rounding to steps of s costs s^2 / 12 within the range, clipping its square distance outside (Banner, Nahshan,
    Soudry, "Post training 4-bit quantization of convolutional networks", 2019, section 2, from data instead of a
    fitted distribution).
    """
    centres = (edges[:-1] + edges[1:]) / 2
    seen = np.flatnonzero(counts)
    if not len(seen):
        return 0.0, 0.0
    low, high = min(0.0, float(edges[seen[0]])), max(0.0, float(edges[seen[-1] + 1]))
    if symmetric:
        high = max(high, -low)
        low = -high
    pairs = [(low * share, high * share) for share in SHARES]
    if not symmetric:
        pairs += [(low, high * share) for share in SHARES] + [(low * share, high) for share in SHARES]
    costs = [_square_error(counts, centres, a, b, levels) for a, b in pairs]
    return pairs[int(np.argmin(costs))]


def _square_error(
    counts: NDArray[np.int64], centres: NDArray[np.float64], low: float, high: float, levels: int
) -> float:
    step = (high - low) / (levels - 1)
    clipped = np.where(centres < low, low - centres, np.where(centres > high, centres - high, 0.0))
    inside = (clipped == 0) & (centres != 0)  # a zero is kept as it is
    return float((counts * np.square(clipped)).sum() + (counts * inside).sum() * step**2 / 12)
