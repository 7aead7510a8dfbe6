"""Which units a layer misses least, and what the others have to make up for: optimal brain surgeon, by whole units."""

from __future__ import annotations

from collections.abc import Sequence
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
    inverse = torch.linalg.inv(_damped(hessian))
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


def least_missed(readers: Sequence[tuple[Tensor, Tensor]]) -> list[int]:
    """
    The order in which units go that several layers read, each by weights [O, C, g] and second moments [C g, C g].

    Of each unit the share of a layer's output that the other units cannot make up for (see `remove`), over all of the
    layers; each as if it went alone.
    """
    units = readers[0][0].shape[1]
    total = torch.zeros(units, dtype=torch.float64)
    for weight, hessian in readers:
        square, values = _damped(hessian), weight.double().flatten(1)
        whole = torch.einsum("od,de,oe->", values, square, values).clamp(min=1e-30)
        total += _saliency(values, torch.linalg.inv(square), units, weight.shape[2]) / whole
    return [int(unit) for unit in total.argsort(stable=True)]


def made_up(weight: Tensor, hessian: Tensor, stay: Sequence[int]) -> Tensor:
    """The weights [O, C, g] with which the units that stay come nearest to the layer's output, in least squares."""
    out, units, size = weight.shape
    if not stay:
        return torch.zeros_like(weight)
    columns = (torch.tensor(sorted(stay))[:, None] * size + torch.arange(size)).flatten()
    square, found = _damped(hessian), torch.zeros(out, units * size, dtype=torch.float64)
    wanted = weight.double().flatten(1) @ square[:, columns]
    found[:, columns] = torch.linalg.solve(square[columns][:, columns], wanted.T).T
    return found.reshape(weight.shape).to(weight.dtype)


def _damped(hessian: Tensor) -> Tensor:
    square = hessian.double()
    return square + torch.eye(len(square), dtype=torch.float64) * DAMP * square.diagonal().mean().clamp(min=1e-12)


def _saliency(values: Tensor, inverse: Tensor, units: int, size: int) -> Tensor:
    """[C]."""
    blocks = inverse.reshape(units, size, units, size).diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # [C, g, g]
    own = values.reshape(len(values), units, size).permute(1, 0, 2)  # [C, O, g]
    return torch.einsum("cog,cgh,coh->c", own, torch.linalg.inv(blocks), own)
