"""What a pipeline says of each loss; which code each means is looked up when training starts."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from edgekd.settings import Settings


class KdLoss(Settings):
    needs: ClassVar[frozenset[str]] = frozenset({"logits"})  # of the teacher
    name: Literal["kd"]
    temperature: float = Field(default=4.0, gt=0)
    weight: float = Field(default=0.9, ge=0)


class CrossEntropyLoss(Settings):
    needs: ClassVar[frozenset[str]] = frozenset()
    name: Literal["cross-entropy"]
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    weight: float = Field(default=0.1, ge=0)


LossSettings = Annotated[KdLoss | CrossEntropyLoss, Field(discriminator="name")]
