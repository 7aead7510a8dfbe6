"""What layers read, as it goes by in a training: what scores of weights and swaps of masks ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FORGETS = 0.9  # of what was read before, each batch
SOME = 16  # samples of a batch, where every pair of values is looked at


class Inputs(nn.Module):
    """
    Of each layer the running mean and mean square of its input channels [I]; with `pairs` the second moments [D, D] of
    the D = I x height x width values that one output reads. In training only; buffers are all that a snapshot needs.
    """

    def __init__(self, layers: Mapping[str, nn.Module], *, pairs: bool) -> None:
        super().__init__()
        for number, layer in enumerate(layers.values()):
            weight: Tensor = layer.weight  # type: ignore[assignment]
            channels, columns = weight.shape[1], weight[0].numel()
            self.register_buffer(f"mean_{number}", torch.zeros(channels))
            self.register_buffer(f"square_{number}", torch.zeros(channels))
            if pairs:
                self.register_buffer(f"pairs_{number}", torch.zeros(columns, columns))
            layer.register_forward_pre_hook(lambda layer, args, number=number: self._seen(number, layer, args[0]))
        self.has_pairs = pairs

    def mean(self, number: int) -> Tensor:
        return self._own("mean", number)

    def square(self, number: int) -> Tensor:
        return self._own("square", number)

    def pairs(self, number: int) -> Tensor:
        return self._own("pairs", number)

    @torch.no_grad()
    def _seen(self, number: int, layer: nn.Module, x: Tensor) -> None:
        if not layer.training:
            return
        x = x.detach().float()
        others = (0, 2, 3) if isinstance(layer, nn.Conv2d) else tuple(range(x.ndim - 1))
        self._forget(self.mean(number), x.mean(others))
        self._forget(self.square(number), x.square().mean(others))
        if self.has_pairs:
            read = columns_of(layer, x[:SOME])
            self._forget(self.pairs(number), read.T @ read / len(read))

    @staticmethod
    def _forget(old: Tensor, new: Tensor) -> None:
        old.mul_(FORGETS).add_(new, alpha=1 - FORGETS)

    def _own(self, what: str, number: int) -> Tensor:
        found: Tensor = getattr(self, f"{what}_{number}")
        return found


def columns_of(layer: nn.Module, x: Tensor) -> Tensor:
    """What each output reads, in the order of the weights' own columns: [places, D]."""
    if isinstance(layer, nn.Conv2d):
        how: dict[str, Any] = {"dilation": layer.dilation, "padding": layer.padding, "stride": layer.stride}
        return F.unfold(x, layer.kernel_size, **how).movedim(1, 2).flatten(0, 1)
    return x.flatten(0, -2)
