"""A fixed set of views of every sample, each known by sample and number, so that what a teacher said of it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekd.data.dataset import Samples, check_channels
from edgekd.data.stages import Preprocess, Views
from edgekd.data.views import Drawn, applied, draw
from edgekd.train.batches import normalised, pixels
from edgekd.train.loop import Batch, Batches

Kept = Callable[[Tensor, Tensor], Tensor]  # of which views [B] of which samples [B]: the teacher's logits [B, K]


@dataclass(frozen=True)
class Bank:
    """`drawn` holds what chance decided, each [V, N, ...]: bytes a view, where its pixels would be kilobytes."""

    samples: Samples
    preprocess: Preprocess
    views: Views
    count: int
    drawn: Drawn

    def read(self, which: Tensor, rows: Tensor) -> Tensor:
        """View `which` [B] of samples `rows` [B] as the net reads them, [B, C, H, W]."""
        taken = {name: values[which, rows] for name, values in self.drawn.items()}
        x = normalised(applied(pixels(self.samples, rows), self.views, taken), self.preprocess)
        return x.contiguous(memory_format=torch.channels_last)


def bank_of(samples: Samples, preprocess: Preprocess, views: Views, count: int, seed: int) -> Bank:
    """`count` views a sample. Raises ValueError for mixed views, which belong to a batch and to no sample."""
    if views.mixup or views.cutmix:
        raise ValueError("mixed views belong to a batch and to no sample: what a teacher says of them cannot be kept")
    check_channels(preprocess, samples.images.shape[-1])
    each = [
        draw(views, len(samples), torch.Generator().manual_seed(seed * 1_000_003 + number)) for number in range(count)
    ]
    return Bank(samples, preprocess, views, count, {name: torch.stack([one[name] for one in each]) for name in each[0]})


def kept_views(bank: Bank, kept: Kept, batch: int, some: Tensor | None = None) -> Batches:
    """
    Each epoch visits every sample once, or each of `some` [n], in a new order, in one of its views with what the
    teacher said of it.
    """
    labels = torch.from_numpy(bank.samples.labels)
    every = torch.arange(len(labels)) if some is None else some

    def epoch(generator: torch.Generator) -> Iterator[Batch]:
        views = torch.randint(bank.count, (len(labels),), generator=generator)
        for rows in every[torch.randperm(len(every), generator=generator)].split(batch):
            which = views[rows]
            yield Batch(bank.read(which, rows), labels[rows], kept(which, rows))

    return epoch
