"""Epochs of augmented batches from samples in memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from edgekd.data.dataset import Samples, preprocess
from edgekd.data.stages import Preprocess, Views
from edgekd.data.views import random_affine
from edgekd.train.loop import Batch, Batches


def views_of(samples: Samples, settings: Preprocess, views: Views, batch: int) -> Batches:
    """Each epoch visits every sample once, in a new order and a new random view."""
    images = torch.from_numpy(preprocess(samples.images, settings))
    labels = torch.from_numpy(samples.labels)

    def epoch(generator: torch.Generator) -> Iterator[Batch]:
        for rows in torch.randperm(len(labels), generator=generator).split(batch):
            x = random_affine(images[rows], views, generator)
            yield x.contiguous(memory_format=torch.channels_last), labels[rows]

    return epoch
