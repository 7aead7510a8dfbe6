"""What a pipeline says of each loss; which code each means is looked up when training starts."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from edgekd.settings import Settings

LOGITS: frozenset[str] = frozenset({"logits"})


class _OfLogits(Settings):
    """`one_class`: whether it needs to know the one true class, which mixed images do not have."""

    needs: ClassVar[frozenset[str]] = LOGITS  # of the teacher
    one_class: ClassVar[bool] = False
    weight: float = Field(default=1.0, ge=0)


class KdLoss(_OfLogits):
    name: Literal["kd"]
    temperature: float = Field(default=4.0, gt=0)
    standardise: bool = False  # each sample's logits to deviation 1: `temperature` 2 and a weight of 9 are the paper's
    weight: float = Field(default=0.9, ge=0)


class CrossEntropyLoss(_OfLogits):
    needs: ClassVar[frozenset[str]] = frozenset()
    name: Literal["cross-entropy"]
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    weight: float = Field(default=0.1, ge=0)


class HardLabelLoss(_OfLogits):
    name: Literal["hard-label"]


class DkdLoss(_OfLogits):
    one_class: ClassVar[bool] = True
    name: Literal["dkd"]
    alpha: float = Field(default=1.0, ge=0)
    beta: float = Field(default=8.0, ge=0)
    temperature: float = Field(default=4.0, gt=0)


class NkdLoss(_OfLogits):
    one_class: ClassVar[bool] = True
    name: Literal["nkd"]
    gamma: float = Field(default=1.5, ge=0)
    temperature: float = Field(default=1.0, gt=0)


class OfaLoss(_OfLogits):
    one_class: ClassVar[bool] = True
    name: Literal["ofa"]
    exponent: float = Field(default=1.5, ge=1)


class PldLoss(_OfLogits):
    one_class: ClassVar[bool] = True
    name: Literal["pld"]


class MarginMseLoss(_OfLogits):
    one_class: ClassVar[bool] = True
    name: Literal["margin-mse"]


class DistLoss(_OfLogits):
    name: Literal["dist"]
    beta: float = Field(default=2.0, ge=0)  # between classes of a sample
    gamma: float = Field(default=2.0, ge=0)  # within a class over the batch
    temperature: float = Field(default=4.0, gt=0)


class SkewKlLoss(_OfLogits):
    name: Literal["skew-kl"]
    alpha: float = Field(default=0.1, gt=0, lt=1)
    reverse: bool = False


class BdKdLoss(_OfLogits):
    name: Literal["bd-kd"]
    temperature: float = Field(default=4.0, gt=0)


class TopKLoss(_OfLogits):
    name: Literal["top-k"]
    k: int = Field(default=5, ge=1)
    temperature: float = Field(default=4.0, gt=0)


LossSettings = Annotated[
    KdLoss
    | CrossEntropyLoss
    | HardLabelLoss
    | DkdLoss
    | NkdLoss
    | OfaLoss
    | PldLoss
    | MarginMseLoss
    | DistLoss
    | SkewKlLoss
    | BdKdLoss
    | TopKLoss,
    Field(discriminator="name"),
]
