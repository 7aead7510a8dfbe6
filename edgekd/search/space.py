"""Drawing shapes from a space."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekd.errors import ConfigError
from edgekd.models.shape import NetShape
from edgekd.search.stages import ResidualCnnSpace

TRIES = 200  # per candidate, before a space counts as too small


def sample(space: ResidualCnnSpace, count: int, seed: int) -> list[NetShape]:
    """`count` different shapes, the same for the same seed."""
    generator = np.random.default_rng(seed)
    found: dict[NetShape, None] = {}
    for _ in range(TRIES * count):
        found.setdefault(_draw(space, generator))
        if len(found) == count:
            return list(found)
    raise ConfigError(
        f"search.candidates: {count} were asked for, but {TRIES * count} draws from the space gave only "
        f"{len(found)} different ones; lower it, or widen search.space"
    )


def _draw(space: ResidualCnnSpace, generator: np.random.Generator) -> NetShape:
    widths, strides = zip(*_blocks(space, generator), strict=True)
    return NetShape(
        stem_width=int(generator.choice(space.stem_widths)),
        stem_stride=int(generator.choice(space.stem_strides)),
        widths=widths,
        strides=strides,
    )


def _blocks(space: ResidualCnnSpace, generator: np.random.Generator) -> Iterator[tuple[tuple[int, int], int]]:
    """Stages never narrow; inside a block, the inner convolution is between half as wide and as wide."""
    steps = np.arange(space.width_min, space.width_max + 1, space.width_step)
    stages = int(generator.choice(space.stages))
    for stage, out in enumerate(np.sort(generator.choice(steps, stages))):
        for block in range(int(generator.choice(space.blocks))):
            inner = generator.choice(steps[(steps >= out / 2) & (steps <= out)])
            yield (int(inner), int(out)), 2 if stage and not block else 1
