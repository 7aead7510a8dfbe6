"""Random views of a batch, drawn from a generator, so that a seed replays them. Pixels are floats from 0 to 1."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from edgekd.data.colour import contrasted, saturated
from edgekd.data.randaugment import rand_augment
from edgekd.data.stages import Views


def view(images: Tensor, settings: Views, generator: Generator) -> Tensor:
    """One random view of each image, [B, C, H, W] to [B, C, H, W]: moved, recoloured, covered in part."""
    x = random_affine(images, settings, generator)
    if settings.flip:
        turned = _draw(len(x), generator) < 0
        x = torch.where(turned[:, None, None, None], x.flip(3), x)
    if settings.brightness:
        x = x * (1 + settings.brightness * _draw(len(x), generator))[:, None, None, None]
    if settings.contrast:
        x = contrasted(x, 1 + settings.contrast * _draw(len(x), generator))
    if settings.saturation:
        x = saturated(x, 1 + settings.saturation * _draw(len(x), generator))
    if settings.rand_augment is not None:
        x = rand_augment(x, settings.rand_augment, generator)
    if settings.cutout:
        x = torch.where(squares(x, settings.cutout, generator), x.new_tensor(0.5), x)
    return x.clamp(0, 1)


def random_affine(images: Tensor, settings: Views, generator: Generator) -> Tensor:
    """
    One random rotation, zoom and shift an image, [B, C, H, W] to [B, C, H, W].

    What lies outside the image takes the value of its border, as a background does.
    """
    if not (settings.rotate_degrees or settings.scale or settings.shift):
        return images
    angle, zoom, dx, dy = (2 * torch.rand(4, len(images), generator=generator) - 1).unbind()
    angle = angle * math.radians(settings.rotate_degrees)
    zoom = 1 + zoom * settings.scale
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    # affine_grid spans [-1, 1], twice the image: a shift of one width is 2
    theta = torch.stack([cos, -sin, 2 * dx * settings.shift, sin, cos, 2 * dy * settings.shift], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def mixed(x: Tensor, labels: Tensor, classes: int, settings: Views, generator: Generator) -> tuple[Tensor, Tensor]:
    """
    Each image mixed with another of the batch, by mixup or CutMix; labels become shares [B, K]. As they are, where
    neither is on.
    """
    if not (settings.mixup or settings.cutmix):
        return x, labels
    cut = settings.cutmix > 0 and (not settings.mixup or float(torch.rand((), generator=generator)) < 0.5)
    share = _beta(settings.cutmix if cut else settings.mixup, generator)
    other = torch.randperm(len(x), generator=generator)
    if cut:
        covered = squares(x[:1], math.sqrt(1 - share), generator)
        x = torch.where(covered, x[other], x)
        share = 1 - float(covered.float().mean())  # the square may reach over the border
    else:
        x = share * x + (1 - share) * x[other]
    shares = F.one_hot(labels, classes).to(x.dtype)
    return x, share * shares + (1 - share) * shares[other]


def squares(x: Tensor, share: float, generator: Generator) -> Tensor:
    """Where a rectangle of `share` of the sides, around a random pixel, covers each image: bool [B, 1, H, W]."""
    height, width = x.shape[2:]
    top, left = (torch.rand(2, len(x), 1, generator=generator) * x.new_tensor([height, width]).view(2, 1, 1)).unbind()
    rows, columns = torch.arange(height)[None] + 0.5, torch.arange(width)[None] + 0.5
    inside_rows = (rows - top).abs() <= share * height / 2
    inside_columns = (columns - left).abs() <= share * width / 2
    return (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]


def _draw(count: int, generator: Generator) -> Tensor:
    return 2 * torch.rand(count, generator=generator) - 1


def _beta(alpha: float, generator: Generator) -> float:
    """A share from Beta(alpha, alpha); torch's own draws from no generator."""
    seed = int(torch.randint(2**31, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))
