"""A stage function that trains a linear net, for processes of their own to import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.train import crew
from edgekd.train.loop import Batch, fit
from edgekd.train.settings import Training


def linear(settings: Training, inputs: Mapping[str, Artifact], work: Work) -> None:
    if settings.processes > 1 and not crew.is_member():
        crew.together(linear, settings, inputs, work, settings.processes)
        return
    torch.manual_seed(0)
    net = nn.Linear(6, 3)

    def batches(generator: torch.Generator) -> Iterator[Batch]:
        for rows in (9, 8, 1):  # odd, even, and too few for everyone
            yield Batch(torch.randn(rows, 6, generator=generator), torch.randint(3, (rows,), generator=generator))

    fit(net, batches, 18, lambda b: F.cross_entropy(net(b.x), b.labels), settings, work.scratch, work.progress)
    save_file(dict(net.state_dict()), work.out / "net.safetensors")
