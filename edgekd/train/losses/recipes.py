"""Each method's losses with the weights that its authors give them on 32 x 32 images, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from edgekd.train.losses.settings import (
    BdKdLoss,
    CrossEntropyLoss,
    DistLoss,
    DkdLoss,
    HardLabelLoss,
    KdLoss,
    LossSettings,
    MarginMseLoss,
    NkdLoss,
    OfaLoss,
    PldLoss,
    SkewKlLoss,
    TaidLoss,
    TopKLoss,
    UskdLoss,
)


def _labels(weight: float) -> CrossEntropyLoss:
    return CrossEntropyLoss(name="cross-entropy", weight=weight)


RecipeName = Literal[
    "cross-entropy", "label-smoothing", "kd", "kd-standardised", "kd-patient", "hard-label", "dkd", "nkd", "ofa", "pld",
    "dist", "skew-kl", "bd-kd", "top-k", "margin-mse", "taid", "uskd",
]  # fmt: skip
RECIPES: Mapping[RecipeName, tuple[LossSettings, ...]] = {
    "cross-entropy": (_labels(1.0),),
    "label-smoothing": (CrossEntropyLoss(name="cross-entropy", weight=1.0, label_smoothing=0.1),),
    "kd": (KdLoss(name="kd"), _labels(0.1)),
    "kd-standardised": (KdLoss(name="kd", temperature=2.0, standardise=True, weight=9.0), _labels(0.1)),
    "kd-patient": (KdLoss(name="kd", temperature=1.0, weight=1.0),),  # no labels: Beyer et al. 2022, [284]
    "hard-label": (HardLabelLoss(name="hard-label", weight=0.5), _labels(0.5)),  # DeiT, equation 3
    "dkd": (DkdLoss(name="dkd", beta=2.0), _labels(1.0)),  # ResNet-56 to ResNet-20
    "nkd": (NkdLoss(name="nkd"), _labels(1.0)),
    "ofa": (OfaLoss(name="ofa"), _labels(1.0)),
    "pld": (PldLoss(name="pld"),),
    "dist": (DistLoss(name="dist"), _labels(1.0)),
    "skew-kl": (SkewKlLoss(name="skew-kl"), _labels(0.1)),
    "bd-kd": (BdKdLoss(name="bd-kd", weight=0.9), _labels(0.1)),
    "top-k": (TopKLoss(name="top-k", weight=0.9), _labels(0.1)),
    "taid": (TaidLoss(name="taid"), _labels(0.1)),
    "uskd": (UskdLoss(name="uskd"), _labels(1.0)),  # without a teacher
    "margin-mse": (MarginMseLoss(name="margin-mse", weight=0.1), _labels(1.0)),
}
