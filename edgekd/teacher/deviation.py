"""How much a teacher's mean answer moves from one draw of views to the next: a score of augmentations."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from edgekd.data.dataset import Samples
from edgekd.data.stages import Preprocess, Views
from edgekd.train.batches import Answers, views_of


def views_deviation(
    answer: Answers, samples: Samples, preprocess: Preprocess, views: Views, classes: int, *, draws: int = 20,
    images: int = 640, seed: int = 0,
) -> float:  # fmt: skip
    """T.stddev of `draws` batches of `images` views each. Lower is said to be better for students."""
    batches = views_of(samples, preprocess, views, images, classes, answer)
    drawn = itertools.chain.from_iterable(
        batches(torch.Generator().manual_seed(seed * 1_000_003 + epoch)) for epoch in itertools.count()
    )
    full = (batch.x for batch in drawn if len(batch.x) == min(images, len(samples)))
    return deviation(torch.stack([answer(x).softmax(1).mean(0) for x in itertools.islice(full, draws)]))


def deviation(means: Tensor) -> float:
    """
    T.stddev: the standard deviation over draws of the teacher's mean probability [R, K], its mean over classes.

    Wang et al., "What makes a 'good' data augmentation in knowledge distillation" (2022), [222].
    """
    return float(means.std(0).mean())
