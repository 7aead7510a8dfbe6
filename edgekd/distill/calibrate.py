"""
A student's confidence, made right on val after training: one temperature, folded into its last layer.

Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks" (2017), section 4.2. Students of a softened
teacher are far too unsure of themselves otherwise. No answer changes, and no operator is added.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from edgekd.data.dataset import Samples
from edgekd.data.stages import Preprocess
from edgekd.fidelity import log_softmax, negative_log_likelihood
from edgekd.models.residual_cnn import ResidualCnn
from edgekd.train.batches import normalised, pixels

MOST = 16.0  # and at the least its inverse
CHUNK = 256


def best_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """
    The T by which logits [N, K] are divided, so that the labels [N] are likeliest; from 1 / MOST to MOST.

    A sample in N + 2 may be of any class, as Platt, "Probabilistic outputs for support vector machines" (1999), has
    it: where all of val is right, no confidence would be too high else.
    """
    any_class = 1 / (len(labels) + 2)

    def cost(log: float) -> float:
        scaled = logits / math.exp(log)
        anything = -float(log_softmax(scaled).mean())
        return (1 - any_class) * negative_log_likelihood(scaled, labels) + any_class * anything

    ends = (-math.log(MOST), math.log(MOST))
    return math.exp(float(minimize_scalar(cost, bounds=ends, method="bounded").x))


@torch.no_grad()
def calibrate(net: ResidualCnn, val: Samples, preprocess: Preprocess) -> float | None:
    """In place: the logits that `net` gives are divided by the temperature, which is returned. None: of two heads."""
    if net.dual_head is not None:
        return None
    was, labels = net.training, np.asarray(val.labels)
    net.eval()
    chunks = torch.arange(len(labels)).split(CHUNK)
    said: list[Tensor] = [net(normalised(pixels(val, rows), preprocess)) for rows in chunks]
    net.train(was)
    temperature = best_temperature(torch.cat(said).double().numpy(), labels)
    net.classifier.weight.div_(temperature)
    net.classifier.bias.div_(temperature)
    return temperature
