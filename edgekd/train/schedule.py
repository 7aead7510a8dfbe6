"""The learning rate, and what it multiplies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.train.settings import Training


def learning_rate(step: int, steps: int, settings: Training) -> float:
    """
    Linear from 0 to the peak over the warm-up, then to 0: along half a cosine (Loshchilov and Hutter, "SGDR", 2017) or
    a line (Smith and Topin, "Super-convergence", 2018, without its cycle of momentum). `step` counts from 0. Each of
    several cycles is such a schedule (SGDR's warm restarts).
    """
    number = step * settings.cycles // steps
    first, end = (-(-steps * cycle // settings.cycles) for cycle in (number, number + 1))
    step, steps = step - first, end - first
    warm = settings.warmup * steps
    if step < warm:
        return settings.learning_rate * (step + 1) / (warm + 1)
    done = (step - warm) / max(1.0, steps - warm)
    left = 0.5 * (1 + math.cos(math.pi * done)) if settings.schedule == "cosine" else 1 - done
    return settings.learning_rate * left


def optimizer_of(net: nn.Module, settings: Training) -> torch.optim.Optimizer:
    """SGD; with `distill_momentum` the one that tells the two gradients apart."""
    if settings.distill_momentum:
        return Dot(_groups(net, settings), settings.momentum, settings.distill_momentum)
    return torch.optim.SGD(_groups(net, settings), lr=0.0, momentum=settings.momentum, nesterov=True)


class Dot(torch.optim.Optimizer):
    """
    SGD with two momenta: of the labels' gradient with momentum - delta, of the teacher's with momentum + delta.

    Zhao, Cui, Song, Qiu, Liang, "DOT: A distillation-oriented trainer" (2023), [297]. Nesterov's step is
    taken of each, and weight decay goes with the labels' gradient: both are our choice. The teacher's gradients are
    handed over by `taught`, the labels' stand in `.grad`.
    """

    def __init__(self, groups: list[dict[str, Any]], momentum: float, delta: float) -> None:
        self.delta = delta
        self.taught: list[Tensor | None] = []
        super().__init__(groups, {"lr": 0.0, "momentum": momentum})

    @torch.no_grad()
    def step(self, _closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        number = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                taught = self.taught[number] if number < len(self.taught) else None
                number += 1
                if parameter.grad is None and taught is None:
                    continue
                own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                if group["weight_decay"]:
                    own = own.add(parameter, alpha=group["weight_decay"])
                state = self.state[parameter]
                self._move(parameter, own, state, "momentum_buffer", group["momentum"] - self.delta, group["lr"])
                if taught is not None:
                    self._move(parameter, taught, state, "taught_buffer", group["momentum"] + self.delta, group["lr"])

    @staticmethod
    def _move(parameter: Tensor, grad: Tensor, state: dict[str, Tensor], name: str, momentum: float, lr: float) -> None:
        kept = state.get(name)
        kept = grad.clone() if kept is None else kept.mul_(momentum).add_(grad)
        state[name] = kept
        parameter.add_(grad.add(kept, alpha=momentum), alpha=-lr)


def _groups(net: nn.Module, settings: Training) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases and batch norms."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
