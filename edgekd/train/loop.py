"""One training loop for every phase: what is minimised comes in as a function."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgekd.engine.events import Progress
from edgekd.errors import ConfigError
from edgekd.train import snapshots
from edgekd.train.average import Average
from edgekd.train.settings import Training


class Batch(NamedTuple):
    """What the net reads [B, ...]; labels [B], or shares [B, K]; the teacher's logits [B, K] where they are kept."""

    x: Tensor
    labels: Tensor
    targets: Tensor | None = None


Batches = Callable[[torch.Generator], Iterator[Batch]]  # one epoch's, drawn from the generator
Objective = Callable[[Batch], Tensor]  # the loss of a batch, a scalar


def fit(
    net: nn.Module,
    batches: Batches,
    samples: int,
    objective: Objective,
    settings: Training,
    scratch: Path,
    progress: Progress,
    *,
    before_epoch: Callable[[int], None] = lambda _epoch: None,
) -> None:
    """
    Train `net` in place, so that `objective` falls.

    An epoch draws all its randomness from (seed, epoch) and ends with a snapshot in `scratch`, so a killed
    run goes on from its last whole epoch and ends with the weights of an undisturbed one.
    """
    torch.set_num_threads(settings.threads)
    optimizer = torch.optim.SGD(_groups(net, settings), lr=0.0, momentum=settings.momentum, nesterov=True)
    steps = math.ceil(samples / settings.batch)
    average = Average(net, settings.average) if settings.average else None
    first = snapshots.restore(scratch, net, optimizer, average)
    if first:
        progress.say(f"resumed after epoch {first} of {settings.epochs}")
    for epoch in range(first, settings.epochs):
        before_epoch(epoch)
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
        torch.manual_seed(settings.seed * 1_000_003 + epoch)
        start, seen = time.perf_counter(), 0
        for step, batch in enumerate(batches(generator)):
            rate = learning_rate(epoch * steps + step, settings.epochs * steps, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = objective(batch)
            value = loss.item()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            size = float(nn.utils.clip_grad_norm_(net.parameters(), settings.clip_norm))
            if not (math.isfinite(value) and math.isfinite(size)):
                what = f"loss became {value}" if not math.isfinite(value) else f"gradient became {size}"
                kept = f"the last good checkpoint, after epoch {epoch}, is kept" if epoch else "no epoch was finished"
                raise ConfigError(
                    f"training: the {what} in epoch {epoch + 1}, step {step + 1}; "
                    f"lower learning_rate (it peaks at {settings.learning_rate}); {kept}"
                )
            optimizer.step()
            if average is not None:
                average.update()
            seen += len(batch.labels)
            speed = seen / (time.perf_counter() - start)
            progress.step(epoch * steps + step + 1, settings.epochs * steps, "step",
                          epoch=epoch + 1, loss=value, images_per_s=speed)  # fmt: skip
        snapshots.save(scratch, epoch + 1, net, optimizer, average)
    if average is not None:
        average.take()


def learning_rate(step: int, steps: int, settings: Training) -> float:
    """Linear from 0 to the peak over the warm-up, then half a cosine to 0; `step` counts from 0."""
    warm = settings.warmup * steps
    if step < warm:
        return settings.learning_rate * (step + 1) / (warm + 1)
    done = (step - warm) / max(1.0, steps - warm)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _groups(net: nn.Module, settings: Training) -> list[dict[str, object]]:
    """Weight decay for matrices and kernels, none for biases and batch norms."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
