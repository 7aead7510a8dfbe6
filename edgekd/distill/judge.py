"""What a net answers on a split, in torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from edgekd.data.dataset import Dataset, Samples
from edgekd.data.shift import shift
from edgekd.deploy import evaluate
from edgekd.distill.stages import Judge
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.teacher.answers import answers_of
from edgekd.train.batches import normalised, pixels

BATCH = 128


def run(settings: Judge, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.threads)
    samples, answer = Dataset(inputs["data"]).split(settings.split), answers_of(inputs["net"].path)
    count = min(len(samples), settings.most or len(samples))
    said = [
        answer(normalised(seen(samples, rows, shifted=settings.shifted), settings.preprocess)).numpy()
        for rows in torch.arange(count).split(BATCH)
    ]
    answers = np.concatenate(said).astype(np.float32)
    labels = np.asarray(samples.labels[:count])
    evaluate.write(work.out, settings.split, answers, answers.argmax(1) == labels, labels)


def seen(samples: Samples, rows: Tensor, *, shifted: bool) -> Tensor:
    """Pixels from 0 to 1, [B, C, H, W], as they are or as another camera might have them."""
    x = pixels(samples, rows)
    return shift(x, rows) if shifted else x
