from __future__ import annotations

import torch

from edgekd.data.stages import Views
from edgekd.data.views import random_affine


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_view_without_freedom_is_the_image() -> None:
    images = torch.randn(4, 1, 8, 8)
    still = random_affine(images, Views(rotate_degrees=0, scale=0, shift=0), generator())
    torch.testing.assert_close(still, images, atol=1e-5, rtol=1e-5)


def test_a_seed_replays_its_views_and_another_gives_others() -> None:
    images = torch.randn(4, 1, 8, 8)
    once, again, other = (random_affine(images, Views(), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_a_shift_moves_by_at_most_its_share_of_the_width() -> None:
    images = torch.zeros(64, 1, 21, 21)
    images[:, :, 10, 10] = 1
    moved = random_affine(images, Views(rotate_degrees=0, scale=0, shift=0.1), generator())
    columns = (moved.sum((1, 2)) * torch.arange(21.0)).sum(1) / moved.sum((1, 2, 3))
    assert float((columns - 10).abs().max()) <= 2.1 + 1e-3
    assert float((columns - 10).abs().max()) > 1.0
