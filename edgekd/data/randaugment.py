"""
RandAugment on tensors: each image gets its own operations, and each operation is applied once to all that drew it.

Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space" (2020), section 3 and
table 6's ranges. Of its 14 operations equalise is left out; shifts and shears fill with the border, not with gray.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from edgekd.data.colour import contrasted, saturated
from edgekd.data.stages import RandAugment

Operation = Callable[[Tensor, Tensor], Tensor]  # of images [b, C, H, W] and signed strengths [b], from -1 to 1


def draw_operations(settings: RandAugment, count: int, generator: Generator) -> dict[str, Tensor]:
    """Which operations each image gets, with replacement, and their signs, each [N] by its place."""
    drawn = {}
    for place in range(settings.operations):
        drawn[f"operation.{place}"] = torch.randint(len(OPERATIONS), (count,), generator=generator)
        drawn[f"sign.{place}"] = 2.0 * torch.randint(2, (count,), generator=generator) - 1
    return drawn


def rand_augment(x: Tensor, settings: RandAugment, drawn: Mapping[str, Tensor]) -> Tensor:
    """`operations` of the table an image, as drawn, each at `magnitude` / 10 and either sign."""
    for place in range(settings.operations):
        strength = drawn[f"sign.{place}"] * settings.magnitude / 10
        made = x.clone()
        for number, name in enumerate(OPERATIONS):
            rows = (drawn[f"operation.{place}"] == number).nonzero()[:, 0]
            if len(rows):
                made[rows] = OPERATIONS[name](x[rows], strength[rows]).clamp(0, 1)
        x = made
    return x


def warped(x: Tensor, rows: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    theta = torch.stack(rows, dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def rotated(x: Tensor, strength: Tensor) -> Tensor:
    angle, zero = strength * math.radians(30), torch.zeros_like(strength)
    return warped(x, (angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero))


def sheared_x(x: Tensor, strength: Tensor) -> Tensor:
    zero, one = torch.zeros_like(strength), torch.ones_like(strength)
    return warped(x, (one, 0.3 * strength, zero, zero, one, zero))


def sheared_y(x: Tensor, strength: Tensor) -> Tensor:
    zero, one = torch.zeros_like(strength), torch.ones_like(strength)
    return warped(x, (one, zero, zero, 0.3 * strength, one, zero))


def shifted_x(x: Tensor, strength: Tensor) -> Tensor:
    zero, one = torch.zeros_like(strength), torch.ones_like(strength)
    return warped(x, (one, zero, 2 * 0.33 * strength, zero, one, zero))


def shifted_y(x: Tensor, strength: Tensor) -> Tensor:
    zero, one = torch.zeros_like(strength), torch.ones_like(strength)
    return warped(x, (one, zero, zero, zero, one, 2 * 0.33 * strength))


def brightened(x: Tensor, strength: Tensor) -> Tensor:
    return x * (1 + 0.9 * strength)[:, None, None, None]


def sharpened(x: Tensor, strength: Tensor) -> Tensor:
    """Away from a 3 x 3 blur, or towards it."""
    kernel = x.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]).div(13).expand(x.shape[1], 1, 3, 3)
    blurred = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=x.shape[1])
    return torch.lerp(blurred, x, (1 + 0.9 * strength)[:, None, None, None])


def posterised(x: Tensor, strength: Tensor) -> Tensor:
    """Fewer levels: 2^8 at no strength, 2^4 at the full one."""
    levels = (2 ** (8 - (4 * strength.abs()).round()))[:, None, None, None]
    return (x * 255 / (256 / levels)).floor() * (256 / levels) / 255


def solarised(x: Tensor, strength: Tensor) -> Tensor:
    """What is brighter than a threshold is inverted."""
    return torch.where(x > (1 - strength.abs())[:, None, None, None], 1 - x, x)


def autocontrasted(x: Tensor, _strength: Tensor) -> Tensor:
    """Each channel from 0 to 1."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp(min=1e-6), x)


OPERATIONS: Mapping[str, Operation] = {
    "identity": lambda x, _strength: x,
    "autocontrast": autocontrasted,
    "rotate": rotated,
    "solarize": solarised,
    "color": lambda x, strength: saturated(x, 1 + 0.9 * strength),
    "posterize": posterised,
    "contrast": lambda x, strength: contrasted(x, 1 + 0.9 * strength),
    "brightness": brightened,
    "sharpness": sharpened,
    "shear-x": sheared_x,
    "shear-y": sheared_y,
    "translate-x": shifted_x,
    "translate-y": shifted_y,
}
