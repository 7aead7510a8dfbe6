"""One training loop for every phase: what is minimised comes in as a function."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from edgekd.engine.events import Progress
from edgekd.errors import ConfigError, DivergedError
from edgekd.resources import keep_memory
from edgekd.train import crew as crews
from edgekd.train import snapshots
from edgekd.train.average import Average, norms_anew
from edgekd.train.norms import pull, scales_of
from edgekd.train.schedule import Dot, learning_rate, optimizer_of
from edgekd.train.settings import Training
from edgekd.train.snapshots import Place
from edgekd.train.watch import Look, Right, Watch, due

BEST = "best.safetensors"


class Batch(NamedTuple):
    """What the net reads [B, ...]; labels [B], or shares [B, K]; the teacher's logits [B, K] where they are kept."""

    x: Tensor
    labels: Tensor
    targets: Tensor | None = None


Batches = Callable[[torch.Generator], Iterator[Batch]]  # one epoch's, drawn from the generator
Objective = Callable[[Batch], Tensor]  # the loss of a batch: a scalar, or [what labels say, what the teacher says]


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
    right: Right | None = None,
    attach: Callable[[Optimizer], None] | None = None,
    optimizer: Callable[[nn.Module, Training], Optimizer] = optimizer_of,
) -> Watch:
    """
    Train `net` in place, so that `objective` falls; `right` looks at val, where that is wanted, and `attach` hangs
    what belongs to each step on the optimiser, which `optimizer` makes.

    An epoch draws all its randomness from (seed, epoch), and snapshots in `scratch` hold the rest, so that a killed
    run goes on from the last of them and ends with the weights of an undisturbed one.
    """
    torch.set_num_threads(settings.threads_each)
    keep_memory()
    run = _Run(net, samples, objective, settings, scratch, progress, optimizer)
    if attach is not None:
        attach(run.optimizer)
    place = snapshots.restore(scratch, net, run.optimizer, run.average)
    watch = Watch.of(settings.patience, place.notes)
    run.losses, run.watched = list(place.notes.get("losses", ())), right is not None
    if place.epoch or place.step:
        within = f" and {place.step} steps of the next" if place.step else ""
        progress.say(f"resumed after epoch {place.epoch} of {settings.epochs}{within}")
    for epoch in range(place.epoch, settings.epochs):
        if watch.enough:
            break
        before_epoch(epoch)
        run.epoch(epoch, batches, place, watch)
        if right is not None and due(epoch + 1, settings.epochs, settings.looks):
            run.look(epoch + 1, right, watch)
        place = Place(epoch + 1, 0, run.notes(watch))
        run.keep(place)
    run.end(batches, watch)
    return watch


class _Run:
    """What the steps of one training share."""

    def __init__(
        self, net: nn.Module, samples: int, objective: Objective, settings: Training, scratch: Path, progress: Progress,
        optimizer: Callable[[nn.Module, Training], Optimizer],
    ) -> None:  # fmt: skip
        self.net, self.objective, self.settings = net, objective, settings
        self.scratch, self.progress = scratch, progress
        self.optimizer = optimizer(net, settings)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.steps = math.ceil(samples / settings.batch)
        self.mean_from = math.ceil(settings.average_from * settings.epochs)
        plain = settings.average_from < 1
        self.average = Average(net, settings.average or None) if settings.average or plain else None
        self.losses: list[float] = []  # since the last look
        self.watched = False
        self.scales = scales_of(net) if settings.scale_l1 else []
        if settings.scale_l1 and not self.scales:
            raise ConfigError(f"scale_l1: {settings.scale_l1:g}: this net has no batch norms to pull; leave it out")
        self.crew = crews.here()
        self.statistics = crews.statistics_of(net) if self.crew else []

    def epoch(self, epoch: int, batches: Batches, place: Place, watch: Watch) -> None:
        seed = self.settings.seed * 1_000_003 + epoch
        generator = torch.Generator().manual_seed(seed)
        done = place.step
        if not done:
            torch.manual_seed(seed)
        start = saved = time.perf_counter()
        seen = 0
        for step, batch in enumerate(itertools.islice(batches(generator), done, None), done):
            value = self.step(epoch, step, batch)
            seen += len(batch.labels)
            now = time.perf_counter()
            self.progress.step(epoch * self.steps + step + 1, self.settings.epochs * self.steps, "step",
                               epoch=epoch + 1, loss=value, samples_per_s=seen / (now - start))  # fmt: skip
            if now - saved > self.settings.snapshot_s and step + 1 < self.steps:
                saved = now
                self.keep(Place(epoch, step + 1, self.notes(watch)))
        if self.average is not None and self.average.decay is None and epoch + 1 > self.mean_from:
            self.average.update()

    def keep(self, place: Place) -> None:
        if self.crew is None or self.crew.first:
            snapshots.save(self.scratch, place, self.net, self.optimizer, self.average)

    def step(self, epoch: int, step: int, batch: Batch) -> float:
        """One batch; the loss. Raises DivergedError for a loss or gradient that is no number."""
        rate = learning_rate(epoch * self.steps + step, self.settings.epochs * self.steps, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        share = 1.0
        if self.crew is not None:
            parts, share = self.crew.mine(batch)
            batch = Batch(*parts)  # type: ignore[arg-type]  # the first two are there
        bf16 = self.settings.precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = self.objective(batch)
        value = float(loss.detach().sum())
        self.optimizer.zero_grad(set_to_none=True)
        size = self._backward(loss, share)
        if not (math.isfinite(value) and math.isfinite(size)):
            what = f"loss became {value}" if not math.isfinite(value) else f"gradient became {size}"
            kept = f"the last good checkpoint, after epoch {epoch}, is kept" if epoch else "no epoch was finished"
            raise DivergedError(
                f"training: the {what} in epoch {epoch + 1}, step {step + 1}; "
                f"lower learning_rate (it peaks at {self.settings.learning_rate}); {kept}"
            )
        pull(self.scales, self.settings.scale_l1, (epoch + step / self.steps) / self.settings.epochs)
        self.optimizer.step()
        if self.average is not None and self.average.decay is not None:
            self.average.update()
        if self.watched:
            self.losses.append(value)
        return value

    def notes(self, watch: Watch) -> dict[str, Any]:
        return watch.told() | {"losses": self.losses}

    def _backward(self, loss: Tensor, share: float) -> float:
        """The norm of the gradient, which is clipped; of several processes, of their mean."""
        if isinstance(self.optimizer, Dot) and loss.ndim > 0:
            grads = torch.autograd.grad(loss[1], self.parameters, retain_graph=True, allow_unused=True)
            taught: list[Tensor | None] = list(grads)
            loss[0].backward()
            self._add_up([grad for grad in taught if grad is not None], share)
            self._add_up([*self._gradients(), *self.statistics], share)
            norm = nn.utils.get_total_norm([g for g in (*taught, *(p.grad for p in self.parameters)) if g is not None])
            share = min(1.0, self.settings.clip_norm / (float(norm) + 1e-6))
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(share)
            self.optimizer.taught = [None if grad is None else grad * share for grad in taught]
            return float(norm)
        loss.sum().backward()
        self._add_up([*self._gradients(), *self.statistics], share)
        return float(nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm))

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    def _add_up(self, tensors: list[Tensor], share: float) -> None:
        if self.crew is not None:
            self.crew.add_up(tensors, share)

    def look(self, epoch: int, right: Right, watch: Watch) -> None:
        said = watch.alarm
        found, n = right() if self.crew is None or self.crew.first else (0, 0)
        if self.crew is not None:
            found, n = self.crew.agreed(found), self.crew.agreed(n)
        watch.add(Look(epoch, sum(self.losses) / max(1, len(self.losses)), found, n))
        self.losses = []
        self.progress.step(epoch * self.steps, self.settings.epochs * self.steps, "step", epoch=epoch,
                           val_percent=100 * found / n)  # fmt: skip
        if watch.alarm and watch.alarm != said:
            self.progress.warn(f"warning: {watch.alarm}")
        if self.settings.patience and watch.best == watch.looks[-1] and (self.crew is None or self.crew.first):
            half = self.scratch / f"{BEST}.half"
            save_file({name: value.contiguous() for name, value in self.net.state_dict().items()}, half)
            half.replace(self.scratch / BEST)

    def end(self, batches: Batches, watch: Watch) -> None:
        """The weights that are kept: the last, their average, or those of the best look."""
        if watch.enough and watch.best is not None and (self.scratch / BEST).is_file():
            self.net.load_state_dict(load_file(self.scratch / BEST))
            watch.kept = watch.best.epoch
            self.progress.say(
                f"stopped after {watch.looks[-1].epoch} of {self.settings.epochs} epochs: val was best after "
                f"{watch.best.epoch}, whose weights are kept"
            )
            return
        if self.average is not None and self.average.updates:
            self.average.take()
            watch.kept = None
            if self.average.decay is None:
                with norms_anew(self.net) as norms, torch.no_grad():
                    for batch in batches(torch.Generator().manual_seed(self.settings.seed)) if norms else ():
                        self.objective(batch)
