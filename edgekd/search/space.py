"""Drawing shapes from a space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

import numpy as np

from edgekd.errors import ConfigError
from edgekd.models.shape import NetShape
from edgekd.search.spaces import Point, Space

TRIES = 200  # per candidate, before a space counts as too small
FEW = 5_000  # points, up to which all of them are looked at


def sample(space: Space, count: int, seed: int, asked: str = "search.candidates") -> list[NetShape]:
    """`count` different shapes, the same for the same seed; `asked` is what to lower where there are fewer."""
    generator = np.random.default_rng(seed)
    found: dict[NetShape, None] = {}
    for _ in range(TRIES * count):
        found.setdefault(space.shape(draw(space, generator)))
        if len(found) == count:
            return list(found)
    raise ConfigError(
        f"{asked}: {count} were asked for, but {TRIES * count} draws from the space gave only "
        f"{len(found)} different ones; lower it, or widen the space"
    )


def drawn(spaces: Sequence[Space], nets: int, seed: int) -> tuple[NetShape, ...]:
    """As many of each space, in random order: whatever part of them was measured has some of each."""
    found: list[NetShape] = []
    for number, space in enumerate(spaces):
        found += sample(space, len(range(number, nets, len(spaces))), seed + number, "--nets")
    return tuple(found[number] for number in np.random.default_rng(seed).permutation(len(found)))


def draw(space: Space, generator: np.random.Generator) -> Point:
    """A choice on every axis, each as likely as the others."""
    return {name: choices[generator.integers(len(choices))] for name, choices in space.axes().items()}


def points(space: Space) -> int:
    """How many there are: of some of them the shape is the same."""
    return prod(len(choices) for choices in space.axes().values())


def every_point(space: Space) -> Iterator[tuple[Point, NetShape]]:
    """Each different shape once, with the first point that has it."""
    axes = space.axes()
    found: set[NetShape] = set()
    for choices in product(*axes.values()):
        point = dict(zip(axes, choices, strict=True))
        shape = space.shape(point)
        if shape not in found:
            found.add(shape)
            yield point, shape


def every(space: Space) -> Iterator[NetShape]:
    """Each different shape once."""
    return (shape for _, shape in every_point(space))
