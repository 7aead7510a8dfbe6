"""What a pipeline says of a training phase."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from edgekd.resources import cores
from edgekd.settings import Settings

Precision = Literal["float32", "bfloat16"]


class Training(Settings):
    """SGD with Nesterov momentum and a warm-up, over whole epochs unless it is stopped early."""

    epochs: int = Field(ge=1)
    batch: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=0.1, gt=0)  # the peak
    schedule: Literal["cosine", "one-cycle"] = "cosine"  # from the peak to zero: along half a cosine, or a line
    warmup: float = Field(default=0.15, ge=0, le=1)  # share of the steps
    cycles: int = Field(default=1, ge=1)  # how often the rate goes from its warm-up to zero
    momentum: float = Field(default=0.9, ge=0, lt=1)
    distill_momentum: float = Field(default=0.0, ge=0, lt=1)  # how much more of it what the teacher says gets: DOT
    weight_decay: float = Field(default=5e-4, ge=0)  # of weights with more than one dimension
    scale_l1: float = Field(default=0.0, ge=0)  # pull of batch norms' scales to zero, up to the half; then less
    clip_norm: float = Field(default=5.0, gt=0)
    average: float = Field(default=0.0, ge=0, lt=1)  # decay of the moving average of weights that is kept; 0: the last
    average_from: float = Field(default=1.0, ge=0, le=1)  # share of the epochs after which their plain mean is taken
    precision: Precision = "float32"  # of products; CPUs without its units emulate bfloat16
    looks: int = Field(default=10, ge=0)  # at val, spread over the epochs
    patience: int = Field(default=0, ge=0)  # looks without a better one before it stops, and keeps the best; 0: never
    snapshot_s: float = Field(default=300.0, gt=0)  # within an epoch; each epoch ends with one too
    threads: int = Field(default_factory=cores, ge=1)  # part of the key: another count rounds differently
    processes: int = Field(default=1, ge=1)  # that share the threads, and each batch
    seed: int = Field(default=0, ge=0)

    @property
    def threads_each(self) -> int:
        return max(1, self.threads // self.processes)

    @model_validator(mode="after")
    def _says_nothing_that_is_not_done(self) -> Self:
        if self.distill_momentum and self.momentum + self.distill_momentum >= 1:
            raise ValueError(
                f"momentum {self.momentum:g} and distill_momentum {self.distill_momentum:g} make 1 or more, with which "
                "steps grow without end; lower one"
            )
        if self.processes > self.threads:
            raise ValueError(f"processes: {self.processes} are more than the {self.threads} threads; lower them")
        if self.processes > self.batch // 2:
            raise ValueError(f"processes: {self.processes} leave less than two of {self.batch} samples to each")
        if self.average and self.average_from < 1:
            raise ValueError("average and average_from are two ways to average weights; leave one out")
        if self.patience and not self.looks:
            raise ValueError("patience counts looks at val, and looks is 0; raise it")
        if self.patience and (self.average or self.average_from < 1):
            raise ValueError("patience keeps the weights of the best look, not their average; leave one of the two out")
        return self
