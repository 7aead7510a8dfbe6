"""
The three bands of sub-networks of AutoDistil, scaled to any teacher.

Xu et al., "AutoDistil: Few-shot task-agnostic neural architecture search for distilling large language models" (2022),
[17]: four values each of depth, heads, width and MLP ratio, 256 sub-networks a band, as its published settings have
them for BERT-base (12 layers, 12 heads, width 768, ratio 4).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

from edgekd.errors import ConfigError
from edgekd.text.shape import EncoderShape

BandName = Literal["base", "small", "tiny"]
Ends = tuple[float, float]
STEP = 8  # of widths and units: what kernels like


class Band(NamedTuple):
    """The least and the most of each, as shares of the teacher's."""

    layers: Ends
    heads: Ends
    hidden: Ends
    ratio: Ends


BANDS: dict[BandName, Band] = {
    "base": Band((9 / 12, 1), (9 / 12, 1), (544 / 768, 640 / 768), (2.5 / 4, 1)),
    "small": Band((9 / 12, 1), (7 / 12, 10 / 12), (256 / 768, 352 / 768), (2.5 / 4, 1)),
    "tiny": Band((4 / 12, 7 / 12), (7 / 12, 10 / 12), (128 / 768, 224 / 768), (2 / 4, 3.5 / 4)),
}


def shapes(whole: EncoderShape, band: BandName, values: int = 4) -> tuple[EncoderShape, ...]:
    """
    The sub-networks of a band, the smallest first; the last is the supernet, of which all are parts.

    Every layer of one has the same heads and units. Raises ConfigError for a teacher that is no uniform encoder.
    """
    if len({*whole.heads}) != 1 or len({*whole.units}) != 1 or whole.share > 1:
        raise ConfigError("supernet: the teacher's layers differ, or share weights; a band is a share of like ones")
    of, ratio = BANDS[band], whole.units[0] / whole.hidden_size
    depths = _between(of.layers, whole.layers, values, 1)
    heads = _between(of.heads, whole.heads[0], values, 1)
    widths = _between(of.hidden, whole.hidden_size, values, min(STEP, whole.head_size))
    shares = [of.ratio[0] + (of.ratio[1] - of.ratio[0]) * n / max(1, values - 1) for n in range(values)]
    made = {
        _shape(whole, depth, head, width, round(share * ratio * width / STEP) * STEP)
        for depth, head, width, share in itertools.product(depths, heads, widths, shares)
    }
    return tuple(sorted(made, key=_size))


def _shape(whole: EncoderShape, layers: int, heads: int, hidden: int, units: int) -> EncoderShape:
    change = {"heads": (heads,) * layers, "units": (max(STEP, units),) * layers, "hidden_size": hidden}
    return whole.model_copy(update=change | {"embedding_size": hidden})


def _between(ends: Ends, full: int, values: int, step: int) -> Sequence[int]:
    found = (ends[0] + (ends[1] - ends[0]) * number / max(1, values - 1) for number in range(values))
    return sorted({max(step, round(share * full / step) * step) for share in found})


def _size(shape: EncoderShape) -> tuple[int, ...]:
    """Weights of the layers and the table, near enough to sort by."""
    per_layer = shape.hidden_size * (4 * shape.heads[0] * shape.head_size + 2 * shape.units[0])
    return shape.vocab_size * shape.hidden_size + shape.layers * per_layer, shape.layers, shape.heads[0], shape.units[0]
