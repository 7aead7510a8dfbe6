"""What a pipeline says of a training phase."""

from __future__ import annotations

from pydantic import Field

from edgekd.resources import cores
from edgekd.settings import Settings


class Training(Settings):
    """SGD with Nesterov momentum, linear warm-up and cosine to zero, over whole epochs."""

    epochs: int = Field(ge=1)
    batch: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=0.1, gt=0)  # the peak
    warmup: float = Field(default=0.15, ge=0, le=1)  # share of the steps
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)  # of weights with more than one dimension
    clip_norm: float = Field(default=5.0, gt=0)
    average: float = Field(default=0.0, ge=0, lt=1)  # decay of the moving average of weights that is kept; 0: the last
    threads: int = Field(default_factory=cores, ge=1)  # part of the key: another count rounds differently
    seed: int = Field(default=0, ge=0)
