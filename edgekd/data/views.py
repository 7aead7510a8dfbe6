"""Random views of a batch, drawn from a generator, so that a seed replays them. Pixels are floats from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from edgekd.data.colour import contrasted, saturated
from edgekd.data.randaugment import draw_operations, rand_augment
from edgekd.data.stages import Views

Drawn = Mapping[str, Tensor]  # what chance decides of each image, each [N, ...]


def view(images: Tensor, settings: Views, generator: Generator) -> Tensor:
    """One random view of each image, [B, C, H, W] to [B, C, H, W]: moved, recoloured, covered in part."""
    return applied(images, settings, draw(settings, len(images), generator))


def draw(settings: Views, count: int, generator: Generator) -> Drawn:
    """What a view of each of `count` images is made with: rows of it replay the views of these images alone."""
    drawn: dict[str, Tensor] = {}
    if settings.pad:
        drawn["crop"] = torch.randint(2 * settings.pad + 1, (count, 2), generator=generator)
    if settings.rotate_degrees or settings.scale or settings.shift:
        drawn["affine"] = (2 * torch.rand(4, count, generator=generator) - 1).T
    for name in ("flip", "brightness", "contrast", "saturation"):
        if getattr(settings, name):
            drawn[name] = 2 * torch.rand(count, generator=generator) - 1
    if settings.rand_augment is not None:
        drawn |= draw_operations(settings.rand_augment, count, generator)
    if settings.cutout:
        drawn["cutout"] = torch.rand(2, count, 1, generator=generator).transpose(0, 1)
    return drawn


def applied(images: Tensor, settings: Views, drawn: Drawn) -> Tensor:
    """The views that were drawn of images [B, C, H, W]; each depends on its own image and row alone."""
    x = cropped(images, settings.pad, drawn["crop"]) if settings.pad else images
    if "affine" in drawn:
        x = moved(x, settings, drawn["affine"])
    if settings.flip:
        x = torch.where((drawn["flip"] < 0)[:, None, None, None], x.flip(3), x)
    if settings.brightness:
        x = x * (1 + settings.brightness * drawn["brightness"])[:, None, None, None]
    if settings.contrast:
        x = contrasted(x, 1 + settings.contrast * drawn["contrast"])
    if settings.saturation:
        x = saturated(x, 1 + settings.saturation * drawn["saturation"])
    if settings.rand_augment is not None:
        x = rand_augment(x, settings.rand_augment, drawn)
    if settings.cutout:
        x = torch.where(squares(x, settings.cutout, drawn["cutout"]), x.new_tensor(0.5), x)
    return x.clamp(0, 1)


def cropped(images: Tensor, pad: int, corners: Tensor) -> Tensor:
    """A part of each image's own size from the image with `pad` pixels of black around it; corners [B, 2]."""
    height, width = images.shape[2:]
    rows = (corners[:, 0, None] + torch.arange(height))[:, None, :, None]
    columns = (corners[:, 1, None] + torch.arange(width))[:, None, None, :]
    image, channel = torch.arange(len(images)).view(-1, 1, 1, 1), torch.arange(images.shape[1]).view(1, -1, 1, 1)
    return F.pad(images, (pad, pad, pad, pad))[image, channel, rows, columns]


def moved(images: Tensor, settings: Views, drawn: Tensor) -> Tensor:
    """
    A rotation, zoom and shift of each image, [B, C, H, W] to [B, C, H, W], as drawn [B, 4] from -1 to 1.

    What lies outside the image takes the value of its border, as a background does.
    """
    angle, zoom, dx, dy = drawn.T
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
        covered = squares(x[:1], math.sqrt(1 - share), torch.rand(2, 1, 1, generator=generator).transpose(0, 1))
        x = torch.where(covered, x[other], x)
        share = 1 - float(covered.float().mean())  # the square may reach over the border
    else:
        x = share * x + (1 - share) * x[other]
    shares = F.one_hot(labels, classes).to(x.dtype)
    return x, share * shares + (1 - share) * shares[other]


def squares(x: Tensor, share: float, centres: Tensor) -> Tensor:
    """Where a rectangle of `share` of the sides, around centres [B, 2, 1] from 0 to 1, covers each: [B, 1, H, W]."""
    height, width = x.shape[2:]
    top, left = (centres * x.new_tensor([height, width]).view(1, 2, 1)).unbind(1)
    rows, columns = torch.arange(height)[None] + 0.5, torch.arange(width)[None] + 0.5
    inside_rows = (rows - top).abs() <= share * height / 2
    inside_columns = (columns - left).abs() <= share * width / 2
    return (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]


def _beta(alpha: float, generator: Generator) -> float:
    """A share from Beta(alpha, alpha); torch's own draws from no generator."""
    seed = int(torch.randint(2**31, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))
