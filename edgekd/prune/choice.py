"""Which units go for a share of the latency: by what they lose and save, and two simpler ways to hold beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError
from edgekd.models.residual_cnn import ResidualCnnForImageClassification
from edgekd.prune.budget import cheapest_errors
from edgekd.prune.stages import By
from edgekd.prune.structure import PARTS

Rungs = dict[int, dict[int, float]]  # of each block: units that stay, and what that loses or saves


@dataclass(frozen=True)
class Worth:
    """What was seen of a net: of each block and rung the error and the share of the net's time that is saved."""

    errors: Rungs
    saved: Rungs
    sizes: dict[int, int]  # all units of a block

    @classmethod
    def read(cls, ladder: Artifact, staircase: Artifact) -> Worth:
        rows = ladder.json("ladder.json")["blocks"]
        saved = staircase.json("staircase.json")["saved"]
        return cls(
            {row["block"]: dict(zip(row["rungs"], row["errors"], strict=True)) for row in rows},
            {int(block): {int(count): share for count, share in row.items()} for block, row in saved.items()},
            {row["block"]: row["size"] for row in rows},
        )

    def saving(self, block: int, count: int) -> float:
        return 0.0 if count == self.sizes[block] else self.saved[block][count]

    def ratio(self, stays: Mapping[int, int]) -> float:
        """What the staircase says that a net with so many units takes, of the whole one's time."""
        return 1 - sum(self.saving(block, count) for block, count in stays.items())


def chosen(worth: Worth, model: ResidualCnnForImageClassification, by: By, ratio: float) -> dict[int, int] | None:
    """How many units of each block stay, so that the staircase says `ratio` at most; None where nothing is so fast."""
    if by == "latency":
        return by_latency(worth, ratio)
    return uniform(worth, ratio) if by == "uniform" else by_magnitude(worth, model, ratio)


def by_latency(worth: Worth, ratio: float) -> dict[int, int] | None:
    """The rungs of least error in all whose savings reach the ratio."""
    blocks = sorted(worth.errors)
    options = [sorted(worth.errors[block], reverse=True) for block in blocks]
    losses = [[worth.errors[block][count] for count in row] for block, row in zip(blocks, options, strict=True)]
    costs = [[-worth.saving(block, count) for count in row] for block, row in zip(blocks, options, strict=True)]
    found = cheapest_errors(losses, costs, ratio - 1)
    if found is None:
        return None
    return {block: row[option] for block, row, option in zip(blocks, options, found, strict=True)}


def uniform(worth: Worth, ratio: float) -> dict[int, int] | None:
    """The same share of every block's units, as large as the ratio allows, at the nearest rungs; no block goes."""
    for percent in range(99, 0, -1):
        stays = {
            block: nearest([count for count in row if count], percent / 100 * worth.sizes[block])
            for block, row in worth.errors.items()
        }
        if worth.ratio(stays) <= ratio:
            return stays
    return None


def by_magnitude(worth: Worth, model: ResidualCnnForImageClassification, ratio: float) -> dict[int, int] | None:
    """
    The filters of least mean weight go first, wherever they are, until what is left of the blocks, rounded up to rungs,
    saves enough; no block goes (Li et al., "Pruning filters for efficient convnets", 2017, section 3.1, over all layers
    at once).
    """
    left = dict(worth.sizes)
    units = sorted((float(norm), block) for block in worth.sizes for norm in norms(model, block))
    for _, weakest in units:
        left[weakest] -= 1
        stays = {each: min(count for count in row if count >= max(1, left[each])) for each, row in worth.errors.items()}
        if worth.ratio(stays) <= ratio:
            return stays
    return None


def nearest(options: list[int], wanted: float) -> int:
    return min(options, key=lambda count: abs(count - wanted))


def too_much(ratio: float, least: float) -> ConfigError:
    return ConfigError(
        f"prune: latency_ratio {ratio:g}: the smallest net that this gives still takes {least:.2f} of the whole one's "
        "time; ask for more, or for a student of another shape (edgekd build)"
    )


def by_norm(model: ResidualCnnForImageClassification, block: int) -> Tensor:
    """The units in the order in which they go."""
    return norms(model, block).argsort(stable=True)


def norms(model: ResidualCnnForImageClassification, block: int) -> Tensor:
    """[units]: the mean weight of what makes each."""
    made = PARTS[model.config.shape.blocks[block].kind].made[0]
    layer: Any = model.net.blocks.get_submodule(f"{block}.{made}")
    return layer.weight.detach().abs().flatten(1).mean(1)  # type: ignore[no-any-return]
