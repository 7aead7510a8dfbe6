"""Epochs of augmented batches, of samples that are read as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from edgekd.data.dataset import Samples, check_channels
from edgekd.data.stages import Preprocess, Views
from edgekd.data.views import mixed, view
from edgekd.train.loop import Batch, Batches

Answers = Callable[[Tensor], Tensor]  # of x [B, C, H, W]: logits [B, K]


def views_of(
    samples: Samples, settings: Preprocess, views: Views, batch: int, classes: int, teacher: Answers | None = None
) -> Batches:
    """
    Each epoch visits every sample once, in a new order and a new random view; labels are [B], or [B, K] where images
    are mixed. With `views.pick` the teacher says which mixtures are taken.
    """
    check_channels(settings, samples.images.shape[-1])
    labels = torch.from_numpy(samples.labels)

    def epoch(generator: torch.Generator) -> Iterator[Batch]:
        for rows in torch.randperm(len(labels), generator=generator).split(batch):
            x = view(pixels(samples, rows), views, generator)
            made = [mixed(x, labels[rows], classes, views, generator) for _ in range(views.pick if teacher else 1)]
            x, targets = (torch.cat(parts) for parts in zip(*made, strict=True))
            x = normalised(x, settings).contiguous(memory_format=torch.channels_last)
            if teacher is not None and views.pick > 1:
                x, targets = doubted(x, targets, teacher(x), len(rows))
            yield Batch(x, targets)

    return epoch


def doubted(x: Tensor, targets: Tensor, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """
    The `count` of images x [N, ...] and targets whose logits [N, K] have the highest entropy.

    CutMixPick: Wang et al., "What makes a 'good' data augmentation in knowledge distillation" (2022), [222].
    """
    log_p = logits.log_softmax(1)
    kept = (-(log_p.exp() * log_p).sum(1)).topk(count).indices.sort().values
    return x[kept], targets[kept]


def pixels(samples: Samples, rows: Tensor) -> Tensor:
    """Floats from 0 to 1, [B, C, H, W]."""
    images = torch.from_numpy(np.asarray(samples.images[rows.numpy()]))
    return images.permute(0, 3, 1, 2).float().div_(255)


def normalised(x: Tensor, settings: Preprocess) -> Tensor:
    """(x - mean) / std of each channel: what `edgekd.data.dataset.preprocess` does of the same pixels."""
    mean, std = (x.new_tensor(values).view(1, -1, 1, 1) for values in (settings.mean, settings.std))
    return (x - mean) / std
