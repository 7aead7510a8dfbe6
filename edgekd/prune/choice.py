"""Which units go for a share of the latency: by what they lose and save, and two simpler ways to hold beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError
from edgekd.models.residual_cnn import ResidualCnnForImageClassification
from edgekd.models.shape import NetShape, parameters
from edgekd.prune.budget import cheapest_errors
from edgekd.prune.places import Units, narrowed, units_of
from edgekd.prune.stages import BY_LADDER, By

HALVINGS = 24
Rungs = dict[str, dict[int, float]]  # of each place: units that stay, and what that loses or saves


@dataclass(frozen=True)
class Worth:
    """What was seen of a net: of each place and rung the error and the share of the net's time that is saved."""

    errors: Rungs
    saved: Rungs
    sizes: dict[str, int]  # all units of a place

    @classmethod
    def read(cls, ladder: Artifact, staircase: Artifact) -> Worth:
        rows = ladder.json("ladder.json")["places"]
        saved = staircase.json("staircase.json")["saved"]
        return cls(
            {row["place"]: dict(zip(row["rungs"], row["errors"], strict=True)) for row in rows},
            {place: {int(count): share for count, share in row.items()} for place, row in saved.items()},
            {row["place"]: row["size"] for row in rows},
        )

    def saving(self, place: str, count: int) -> float:
        return 0.0 if count == self.sizes[place] else self.saved[place][count]

    def ratio(self, stays: Mapping[str, int]) -> float:
        """What the staircase says that a net with so many units takes, of the whole one's time."""
        return 1 - sum(self.saving(place, count) for place, count in stays.items())

    def of(self, by: By) -> Worth:
        """
        With the rungs that such a way may take: `width` leaves no block out, `depth` narrows none (Muralidharan et al.,
        "Compact language models via pruning and knowledge distillation", 2024, [100], tell them apart in a table).
        """
        if by not in ("width", "depth"):
            return self
        may = {
            place: {
                count: error
                for count, error in row.items()
                if count == self.sizes[place] or (not count) is (by == "depth")
            }
            for place, row in self.errors.items()
        }
        return replace(self, errors=may)

    def least(self) -> dict[str, int]:
        return {place: min(row) for place, row in self.errors.items()}


@dataclass(frozen=True)
class Room:
    """What may be left of a net: of its time by the staircase, of its parameters by its shape."""

    ratio: float
    shape: NetShape
    parameters: float = 1.0

    def holds(self, worth: Worth, stays: Mapping[str, int]) -> bool:
        return worth.ratio(stays) <= self.ratio and self.share(stays) <= self.parameters

    def share(self, stays: Mapping[str, int]) -> float:
        return parameters(narrowed(self.shape, stays)) / parameters(self.shape)


def chosen(
    worth: Worth, model: ResidualCnnForImageClassification, by: By, ratio: float, parameters: float = 1.0
) -> dict[str, int] | None:
    """
    How many units of each place stay, so that the staircase says `ratio` at most, and at most such a share of the
    parameters is left; None where nothing is so fast or so small.
    """
    room = Room(ratio, model.config.shape, parameters)
    if by in BY_LADDER:
        return by_latency(worth.of(by), room)
    return uniform(worth, room) if by == "uniform" else by_magnitude(worth, model, room)


def by_latency(worth: Worth, room: Room) -> dict[str, int] | None:
    """
    The rungs of least error in all whose savings reach the ratio; where these leave too many parameters, with the
    least price on each of them, in errors, at which few enough are left (a Lagrange multiplier, by bisection).
    """
    found = _at_price(worth, room.ratio, 0.0, {})
    if found is None or room.share(found) <= room.parameters:
        return found
    shares = {place: {count: room.share({place: count}) for count in row} for place, row in worth.errors.items()}
    most = 1e3 * sum(max(row.values()) for row in worth.errors.values())
    best = _at_price(worth, room.ratio, most, shares)
    if best is None or room.share(best) > room.parameters:
        return None
    low, high = most * 1e-9, most  # halved as logarithms
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high)
        found = _at_price(worth, room.ratio, middle, shares)
        if found is not None and room.share(found) <= room.parameters:
            best, high = found, middle
        else:
            low = middle
    return best


def _at_price(worth: Worth, ratio: float, price: float, shares: Rungs) -> dict[str, int] | None:
    """The rungs of least error and price of what they leave; each place's parameters as if it were cut alone."""
    places = sorted(worth.errors)
    options = [sorted(worth.errors[place], reverse=True) for place in places]
    losses = [
        [worth.errors[place][count] + (price * shares[place][count] if price else 0.0) for count in row]
        for place, row in zip(places, options, strict=True)
    ]
    costs = [[-worth.saving(place, count) for count in row] for place, row in zip(places, options, strict=True)]
    found = cheapest_errors(losses, costs, ratio - 1)
    if found is None:
        return None
    return {place: row[option] for place, row, option in zip(places, options, found, strict=True)}


def uniform(worth: Worth, room: Room) -> dict[str, int] | None:
    """The same share of every place's units, as large as the ratio allows, at the nearest rungs; no block goes."""
    for percent in range(99, 0, -1):
        stays = {
            place: nearest([count for count in row if count], percent / 100 * worth.sizes[place])
            for place, row in worth.errors.items()
        }
        if room.holds(worth, stays):
            return stays
    return None


def by_magnitude(worth: Worth, model: ResidualCnnForImageClassification, room: Room) -> dict[str, int] | None:
    """
    The filters of least mean weight go first, wherever they are, until what is left of the blocks, rounded up to rungs,
    saves enough; no block goes (Li et al., "Pruning filters for efficient convnets", 2017, section 3.1, over all layers
    at once).
    """
    left = dict(worth.sizes)
    known = {units.name: units for units in units_of(model.config.shape, streams=True)}
    units = sorted((float(norm), place) for place in worth.sizes for norm in norms(model, known[place]))
    for _, weakest in units:
        left[weakest] -= 1
        stays = {each: min(count for count in row if count >= max(1, left[each])) for each, row in worth.errors.items()}
        if room.holds(worth, stays):
            return stays
    return None


def nearest(options: list[int], wanted: float) -> int:
    return min(options, key=lambda count: abs(count - wanted))


def too_much(ratio: float, least: float) -> ConfigError:
    return ConfigError(
        f"prune: latency_ratio {ratio:g}: the smallest net that this gives still takes {least:.2f} of the whole one's "
        "time; ask for more, or for a student of another shape (edgekd build)"
    )


def too_few(parameters: float, least: float) -> ConfigError:
    return ConfigError(
        f"prune: parameters_ratio {parameters:g}: the smallest net that this gives still has {least:.2f} of the whole "
        "one's parameters; ask for more, or cut the width of whole stages too (--stages)"
    )


def by_norm(model: ResidualCnnForImageClassification, units: Units) -> Tensor:
    """The units in the order in which they go."""
    return norms(model, units).argsort(stable=True)


def norms(model: ResidualCnnForImageClassification, units: Units) -> Tensor:
    """[units]: the mean weight of what makes each, over all layers that do."""
    layers: list[Any] = [model.net.get_submodule(name) for name in units.made]
    each = [layer.weight.detach().abs().reshape(units.size, -1).mean(1) for layer in layers]
    return torch.stack(each).mean(0)
