"""How good, how sure and how like its teacher a classifier is: pure functions of logits [N, K]. None is a loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BINS = 15


def all_of(student: Array, teacher: Array, labels: Array) -> dict[str, float]:
    """What a report says of a student beside its accuracy."""
    return {
        "ece": expected_calibration_error(student, labels),
        "nll": negative_log_likelihood(student, labels),
        "agreement": agreement(student, teacher),
        "kl": predictive_kl(student, teacher),
        "probability_loyalty": probability_loyalty(student, teacher),
    }


def log_softmax(logits: Array) -> Array:
    """[N, K]."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def expected_calibration_error(logits: Array, labels: Array, bins: int = BINS) -> float:
    """
    By how much the largest probability differs from the share of right answers, weighted over equal-width bins.

    Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks" (2017), equation 3.
    """
    probabilities = np.exp(log_softmax(logits))
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((sure * bins).astype(int), bins - 1)
    apart = np.bincount(place, sure - right, minlength=bins)
    return float(np.abs(apart).sum() / len(labels))


def negative_log_likelihood(logits: Array, labels: Array) -> float:
    """Nats a sample."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def agreement(student: Array, teacher: Array) -> float:
    """
    The share of samples that both give the same class.

    Stanton et al., "Does knowledge distillation really work?" (2021), [217]; Xu et al., "Beyond preserved
    accuracy" (2021), label loyalty, [96].
    """
    return float((student.argmax(1) == teacher.argmax(1)).mean())


def predictive_kl(student: Array, teacher: Array) -> float:
    """KL(teacher || student), nats a sample: Stanton et al. (2021), [217]."""
    q, p = log_softmax(student), log_softmax(teacher)
    return float((np.exp(p) * (p - q)).sum(1).mean())


def probability_loyalty(student: Array, teacher: Array) -> float:
    """1 - sqrt(JS), the mean over samples, JS in bits: Xu et al. (2021), [96]. 1 for the same answers."""
    p, q = np.exp(log_softmax(teacher)), np.exp(log_softmax(student))
    middle = (p + q) / 2
    js = sum(np.where(side > 0, side * (np.log2(np.maximum(side, 1e-300)) - np.log2(middle)), 0) for side in (p, q)) / 2
    return float((1 - np.sqrt(np.clip(np.asarray(js).sum(1), 0, 1))).mean())
