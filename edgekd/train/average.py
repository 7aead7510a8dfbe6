"""Averages of weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from edgekd.train.norms import batch_norms


class Average:
    """
    Of parameters alone: scales, zero points and batch statistics stay those that training ended with.

    With a decay the moving average of Polyak and Juditsky, "Acceleration of stochastic approximation by averaging"
    (1992); the decay is lower at first, (1 + n) / (10 + n) after n updates, so that the start is forgotten. Without one
    the plain mean: Izmailov et al., "Averaging weights leads to wider optima" (2018), algorithm 1, and WAKD [291].
    """

    def __init__(self, net: nn.Module, decay: float | None) -> None:
        self._parameters = list(net.parameters())
        self.decay, self.updates = decay, 0
        self.shadow = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        new = 1 / self.updates if self.decay is None else 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        for mean, parameter in zip(self.shadow, self._parameters, strict=True):
            mean.lerp_(parameter, new)

    @torch.no_grad()
    def take(self) -> None:
        """Put the averages in the net's place."""
        for mean, parameter in zip(self.shadow, self._parameters, strict=True):
            parameter.copy_(mean)

    def state(self) -> dict[str, Tensor]:
        kept = {f"{number}": mean for number, mean in enumerate(self.shadow)}
        return {**kept, "updates": torch.tensor(self.updates)}

    def load(self, state: dict[str, Tensor]) -> None:
        self.updates = int(state["updates"])
        for number, mean in enumerate(self.shadow):
            mean.copy_(state[f"{number}"])


@contextmanager
def norms_anew(net: nn.Module) -> Iterator[list[nn.Module]]:
    """
    In place: the batch norms, which it hands out, end with the plain mean of the statistics that they see meanwhile in
    training mode.

    Izmailov et al. (2018), section 3.2, of mean weights; of sub-networks Yu and Huang, "Universally slimmable networks
    and improved training techniques" (2019), "post-statistics of batch normalization".
    """
    norms = batch_norms(net)
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
    yield list(norms)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
