"""What a pipeline says of each loss; which code each means is looked up when training starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from edgekd.settings import Settings

LOGITS: frozenset[str] = frozenset({"logits"})


class Loss(Settings):
    """
    `weight` counts from `start` to `stop`, shares of the steps, and grows to its full size over `ramp` of them.

    `one_class`: whether it needs to know the one true class, which mixed images do not have.
    """

    needs: ClassVar[frozenset[str]] = frozenset()  # of the teacher
    one_class: ClassVar[bool] = False
    weight: float = Field(default=1.0, ge=0)
    start: float = Field(default=0.0, ge=0, le=1)
    stop: float = Field(default=1.0, ge=0, le=1)
    ramp: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _counts_at_some_time(self) -> Self:
        if not self.start < self.stop:
            raise ValueError(f"start {self.start:g} is not before stop {self.stop:g}, so that it never counts")
        if self.start + self.ramp > self.stop:
            raise ValueError(
                f"ramp {self.ramp:g} from start {self.start:g} ends after stop {self.stop:g}, so that its weight is "
                "never reached; shorten it"
            )
        return self

    def weight_at(self, done: float) -> float:
        """After a share `done` of the steps."""
        if not self.start <= done <= self.stop:
            return 0.0
        return self.weight * min(1.0, (done - self.start) / self.ramp) if self.ramp else self.weight


class _OfLogits(Loss):
    needs: ClassVar[frozenset[str]] = LOGITS


class _OfFeatures(Loss):
    """
    `pairs` name an output of the student and one of the teacher: `stem`, `block3`, `stage2`, `pooled` of edgekd's own
    nets, a module's path of any other.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"module"})
    pairs: tuple[tuple[str, str], ...] = Field(min_length=1)


class KdLoss(_OfLogits):
    name: Literal["kd"]
    temperature: float = Field(default=4.0, gt=0)
    standardise: bool = False  # each sample's logits to deviation 1: `temperature` 2 and a weight of 9 are the paper's
    weight: float = Field(default=0.9, ge=0)


class CrossEntropyLoss(Loss):
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


class TaidLoss(_OfLogits):
    name: Literal["taid"]
    first: float = Field(default=0.4, ge=0, le=1)  # share of the teacher in the target, at the start
    rate: float = Field(default=5e-4, ge=0)
    momentum: float = Field(default=0.99, ge=0, lt=1)


class HintLoss(_OfFeatures):
    name: Literal["hint"]
    weight: float = Field(default=1.0, ge=0)


class AttentionLoss(_OfFeatures):
    name: Literal["attention"]
    weight: float = Field(default=1000.0, ge=0)


class SimilarityLoss(_OfFeatures):
    name: Literal["similarity"]
    weight: float = Field(default=3000.0, ge=0)


class SquareHeadLoss(_OfFeatures):
    """Of a student of its teacher's own widths, as one that zeros come into is."""

    name: Literal["squarehead"]
    weight: float = Field(default=1.0, ge=0)


class RkdLoss(_OfFeatures):
    name: Literal["rkd"]
    distance: float = Field(default=25.0, ge=0)
    angle: float = Field(default=50.0, ge=0)


class OfaStagesLoss(_OfLogits):
    """Each named output of the student gets a head of its own, which learns the teacher's classes."""

    one_class: ClassVar[bool] = True
    name: Literal["ofa-stages"]
    outputs: tuple[str, ...] = Field(min_length=1)
    exponent: float = Field(default=1.0, ge=1)


class UskdLoss(Loss):
    """Teaches without a teacher. The named output of the student, in its middle, gets a head of its own."""

    one_class: ClassVar[bool] = True
    name: Literal["uskd"]
    outputs: tuple[str] = ("stage2",)
    alpha: float = Field(default=1.0, ge=0)  # of the true class
    beta: float = Field(default=0.1, ge=0)  # of the others
    mu: float = Field(default=0.005, ge=0)  # of the head


class CkdLoss(_OfFeatures):
    name: Literal["ckd"]
    queue: int = Field(default=1024, ge=1)  # of the teacher's embeddings, that are no sample's own
    temperature: float = Field(default=0.05, gt=0)


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
    | TopKLoss
    | TaidLoss
    | HintLoss
    | AttentionLoss
    | SimilarityLoss
    | SquareHeadLoss
    | RkdLoss
    | OfaStagesLoss
    | UskdLoss
    | CkdLoss,
    Field(discriminator="name"),
]


def asked_of(losses: Sequence[LossSettings]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The outputs that losses name: of the student, and of the teacher."""
    own: dict[str, None] = {}
    theirs: dict[str, None] = {}
    for loss in losses:
        own |= dict.fromkeys(getattr(loss, "outputs", ()))
        for a, b in getattr(loss, "pairs", ()):
            own[a] = theirs[b] = None
    return tuple(own), tuple(theirs)
