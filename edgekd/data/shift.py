"""Pictures as another camera might have taken them: what i.i.d. samples do not show."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.data.colour import contrasted

NOISE, CONTRAST = 0.08, 0.5  # Hendrycks and Dietterich (2019) at severity 1 to 2 for small images


def shift(x: Tensor, rows: Tensor) -> Tensor:
    """
    Noise, blur or less contrast, by the sample's number, so that all models see the same; [B, C, H, W] from 0 to 1.

    After Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions" (2019), of whose
    fifteen kinds these are three.
    """
    made = x.clone()
    for kind in range(3):
        places = (rows % 3 == kind).nonzero()[:, 0]
        if not len(places):
            continue
        some = x[places]
        if kind == 0:
            noise = [torch.randn(some.shape[1:], generator=torch.Generator().manual_seed(int(rows[p]))) for p in places]
            made[places] = some + NOISE * torch.stack(noise)
        elif kind == 1:
            made[places] = F.avg_pool2d(F.pad(some, (1, 1, 1, 1), mode="replicate"), 3, 1)
        else:
            made[places] = contrasted(some, torch.full((len(some),), CONTRAST))
    return made.clamp(0, 1)
