"""SynFlow."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn


def synflow(net: nn.Module, image: Sequence[int]) -> float:
    """
    Log of the sum over parameters of |theta * dR/dtheta|, R the summed output for an image of ones [C, H, W].

    All weights are replaced by their absolute values and batch norms left at their initial statistics, so R
    is, without attention, the sum over all paths of the product of weights; in double precision, since it grows with
    every layer.
    Source: Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow"
    (2020), equation 2. The logarithm is ours: it ranks the same.
    """
    net = copy.deepcopy(net).double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()
    net(torch.ones(1, *image, dtype=torch.float64)).sum().backward()
    flow = sum((p * p.grad).abs().sum().item() for p in net.parameters() if p.grad is not None)
    return math.log(flow)
