"""Random views of a batch, drawn from a generator, so that a seed replays them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from edgekd.data.stages import Views


def random_affine(images: Tensor, settings: Views, generator: Generator) -> Tensor:
    """
    One random rotation, zoom and shift an image, [B, C, H, W] to [B, C, H, W].

    What lies outside the image takes the value of its border, as a background does.
    """
    angle, zoom, dx, dy = (2 * torch.rand(4, len(images), generator=generator) - 1).unbind()
    angle = angle * math.radians(settings.rotate_degrees)
    zoom = 1 + zoom * settings.scale
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    # affine_grid spans [-1, 1], twice the image: a shift of one width is 2
    theta = torch.stack([cos, -sin, 2 * dx * settings.shift, sin, cos, 2 * dy * settings.shift], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
