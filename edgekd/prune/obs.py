"""Which units a layer misses least, and what the others have to make up for: optimal brain surgeon, by whole units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DAMP = 1e-2  # of the mean of the Hessian's diagonal


@dataclass(frozen=True)
class Removal:
    """`order` [C]: the units as they go, the first one first; `weights` by how many stay, each [O, C, g]."""

    order: tuple[int, ...]
    errors: tuple[float, ...]  # of the layer's output, after each removal, summed
    weights: dict[int, Tensor]


def remove(weight: Tensor, hessian: Tensor, stops: set[int]) -> Removal:
    """
    Take units away one by one, least harm first. `weight` [O, C, g] reads g values of each of C units, whose second
    moments are `hessian` [C g, C g]; the weights are kept where as many units are left as `stops` says.

    Kurtic, Frantar, Alistarh, "ZipLM: Inference-aware structured pruning of language models" (2023), equations 2 and 3:
    the saliency of a unit S is the sum over rows of W_S (H^-1_SS)^-1 W_S^T, the others take over W_S (H^-1_SS)^-1
    H^-1_S:, and H^-1 is updated in the same way. Units of theirs are columns of linear layers; here a unit has one
    column for each place of the kernel.
    """
    out, units, size = weight.shape
    values = weight.reshape(out, units * size).double().clone()
    square = hessian.double()
    square = square + torch.eye(len(square), dtype=torch.float64) * DAMP * square.diagonal().mean().clamp(min=1e-12)
    inverse = torch.linalg.inv(square)
    left, order, errors, total = torch.ones(units, dtype=torch.bool), list[int](), list[float](), 0.0
    kept = {units: weight.clone()} if units in stops else {}
    for stays in range(units - 1, -1, -1):
        costs = _saliency(values, inverse, units, size).masked_fill(~left, torch.inf)
        unit = int(costs.argmin())
        total += float(costs[unit])
        columns = slice(unit * size, (unit + 1) * size)
        block = torch.linalg.inv(inverse[columns, columns])
        values -= values[:, columns] @ block @ inverse[columns]
        inverse -= inverse[:, columns] @ block @ inverse[columns]
        values[:, columns], left[unit] = 0, False
        inverse[columns], inverse[:, columns] = 0, 0
        inverse[columns, columns] = torch.eye(size, dtype=torch.float64)
        order.append(unit)
        errors.append(total)
        if stays in stops:
            kept[stays] = values.reshape(out, units, size).to(weight.dtype).clone()
    return Removal(tuple(order), tuple(errors), kept)


def _saliency(values: Tensor, inverse: Tensor, units: int, size: int) -> Tensor:
    """[C]."""
    blocks = inverse.reshape(units, size, units, size).diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # [C, g, g]
    own = values.reshape(len(values), units, size).permute(1, 0, 2)  # [C, O, g]
    return torch.einsum("cog,cgh,coh->c", own, torch.linalg.inv(blocks), own)
