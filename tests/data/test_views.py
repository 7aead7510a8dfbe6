from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from edgekd.data.colour import contrasted, saturated
from edgekd.data.dataset import Samples
from edgekd.data.randaugment import OPERATIONS
from edgekd.data.stages import Preprocess, RandAugment, Views
from edgekd.data.views import applied, draw, mixed, moved, view
from edgekd.teacher.deviation import deviation, views_deviation
from edgekd.train.batches import views_of


def test_of_mixtures_those_that_the_teacher_doubts_most_are_taken() -> None:
    samples = Samples(np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8), np.arange(12) % 3)
    asked: list[Tensor] = []

    def teacher(x: Tensor) -> Tensor:
        asked.append(x)
        sure = torch.arange(len(x), dtype=torch.float32)  # surer of each than of the one before
        return torch.stack([sure, torch.zeros(len(x)), torch.zeros(len(x))], 1)

    how = Preprocess(mean=(0.0,), std=(1.0,))
    batches = views_of(samples, how, Views(cutmix=1.0, pick=3), 6, 3, teacher)
    first, second = batches(generator())
    assert [len(x) for x in asked] == [18, 18]
    assert torch.equal(first.x, asked[0][:6])
    assert torch.equal(second.x, asked[1][:6])
    torch.testing.assert_close(first.labels.sum(1), torch.ones(6))


def test_picking_without_mixing_is_refused() -> None:
    with pytest.raises(ValueError, match="pick: 2 is of mixed images; set cutmix"):
        Views(pick=2)


def test_a_teachers_deviation_over_views_is_that_of_its_mean_answer() -> None:
    """By hand; nothing for views that do not move, more for views that move more."""
    means = torch.tensor([[0.2, 0.8], [0.4, 0.6]])
    assert deviation(means) == pytest.approx(float(np.std([0.2, 0.4], ddof=1)))
    samples = Samples(np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8), np.arange(40) % 3)
    how, weights = Preprocess(mean=(0.0,), std=(1.0,)), torch.randn(64, 3, generator=generator())

    def answer(x: Tensor) -> Tensor:
        return x.flatten(1) @ weights

    still, little, much = (
        views_deviation(answer, samples, how, Views(rotate_degrees=0, scale=0, shift=shift), 3, images=40, draws=10)
        for shift in (0.0, 0.05, 0.4)
    )
    assert still == pytest.approx(0, abs=1e-6)
    assert still < little < much


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_affine(images: Tensor, settings: Views, source: torch.Generator) -> Tensor:
    return moved(images, settings, (2 * torch.rand(4, len(images), generator=source) - 1).T)


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


ALL = Views(
    flip=True, brightness=0.3, contrast=0.3, saturation=0.3, rand_augment=RandAugment(), cutout=0.4, mixup=0.2,
    cutmix=1.0,
)  # fmt: skip
STILL = Views(rotate_degrees=0, scale=0, shift=0)
LEVELS = torch.randint(0, 256, (6, 3, 24, 20), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
IMAGES = LEVELS.float() / 255


def as_pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def levels(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round()


def test_a_seed_replays_every_kind_of_view_and_what_is_mixed() -> None:
    labels = torch.arange(6)

    def drawn(seed: int) -> tuple[Tensor, Tensor]:
        source = generator(seed)
        return mixed(view(IMAGES, ALL, source), labels, 6, ALL, source)

    for one, again, other in zip(drawn(1), drawn(1), drawn(2), strict=True):
        assert torch.equal(one, again)
        assert not torch.equal(one, other)


def test_views_keep_shape_and_range_and_without_freedom_the_image() -> None:
    x = view(IMAGES, ALL, generator())
    assert x.shape == IMAGES.shape
    assert 0 <= float(x.min()) < float(x.max()) <= 1
    assert torch.equal(view(IMAGES, STILL, generator()), IMAGES)
    assert torch.equal(mixed(IMAGES, torch.arange(6), 6, STILL, generator())[0], IMAGES)


def test_about_half_of_the_images_are_turned_and_the_others_are_not() -> None:
    many = IMAGES[:1].expand(400, -1, -1, -1)
    x = view(many, STILL.model_copy(update={"flip": True}), generator())
    turned = (x == many.flip(3)).flatten(1).all(1)
    assert (turned | (x == many).flatten(1).all(1)).all()
    assert 150 < int(turned.sum()) < 250


@pytest.mark.parametrize("factor", [0.4, 1.0, 1.6])
def test_contrast_and_saturation_are_pillows(factor: float) -> None:
    strength = torch.full((6,), factor)
    for name, ours in (("Contrast", contrasted), ("Color", saturated)):
        for image, made in zip(LEVELS, levels(ours(IMAGES, strength)), strict=True):
            theirs = np.asarray(getattr(ImageEnhance, name)(as_pillow(image)).enhance(factor))
            assert np.abs(made.permute(1, 2, 0).numpy() - theirs).max() <= 1.01  # it rounds gray to whole levels


def test_operations_of_randaugment_are_pillows() -> None:
    full = torch.ones(6)
    pairs: list[tuple[str, Tensor, Any, float]] = [
        ("solarize", 0.5 * full, lambda p: ImageOps.solarize(p, 128), 0),
        ("posterize", full, lambda p: ImageOps.posterize(p, 4), 0),
        ("autocontrast", full, ImageOps.autocontrast, 1.01),
        ("brightness", full / 3, lambda p: ImageEnhance.Brightness(p).enhance(1.3), 1.01),
    ]
    for name, strength, theirs, apart in pairs:
        for image, made in zip(LEVELS, levels(OPERATIONS[name](IMAGES, strength)), strict=True):
            found = np.abs(made.permute(1, 2, 0).numpy() - np.asarray(theirs(as_pillow(image))))
            assert found.max() <= apart, name


def test_an_operation_without_strength_leaves_the_image() -> None:
    for name, operation in OPERATIONS.items():
        if name != "autocontrast":
            torch.testing.assert_close(operation(IMAGES, torch.zeros(6)), IMAGES, atol=2e-5, rtol=0, msg=name)


def test_mixup_mixes_labels_as_it_mixes_images() -> None:
    flat = torch.eye(6)[:, :, None, None].expand(6, 6, 4, 4)  # image n is 1 in channel n
    x, shares = mixed(flat, torch.arange(6), 6, Views(mixup=0.5), generator())
    torch.testing.assert_close(x[:, :, 0, 0], shares)
    torch.testing.assert_close(shares.sum(1), torch.ones(6))


def test_cutmix_labels_are_the_shares_of_the_pixels() -> None:
    flat = torch.eye(6)[:, :, None, None].expand(6, 6, 40, 40)
    for seed in range(20):
        x, shares = mixed(flat, torch.arange(6), 6, Views(cutmix=1.0), generator(seed))
        torch.testing.assert_close(x.mean((2, 3)), shares, atol=1e-5, rtol=0)
        assert set(x.unique().tolist()) <= {0.0, 1.0}


def test_cutout_covers_a_square_of_its_share() -> None:
    black = torch.zeros(64, 1, 40, 40)
    covered = view(black, STILL.model_copy(update={"cutout": 0.5}), generator()) == 0.5
    shares = covered.float().mean((1, 2, 3))
    assert float(shares.max()) <= 0.26  # a quarter, less where it reaches over the border
    assert float(shares.min()) >= 0.06


def test_rows_of_what_was_drawn_replay_the_views_of_these_images_alone() -> None:
    settings = ALL.model_copy(update={"pad": 2})
    drawn = draw(settings, 6, generator(5))
    whole = applied(IMAGES, settings, drawn)
    rows = torch.tensor([4, 0, 4])
    part = applied(IMAGES[rows], settings, {name: values[rows] for name, values in drawn.items()})
    torch.testing.assert_close(part, whole[rows], atol=1e-6, rtol=0)


def test_a_crop_is_the_image_moved_by_whole_pixels_with_black_where_there_is_none() -> None:
    settings = STILL.model_copy(update={"pad": 3})
    drawn = {"crop": torch.tensor([[0, 0], [3, 3], [6, 6], [6, 0], [3, 4], [2, 3]])}
    made = applied(IMAGES, settings, drawn)
    assert torch.equal(made[1], IMAGES[1])
    assert torch.equal(made[0][:, 3:, 3:], IMAGES[0][:, :-3, :-3])
    assert float(made[0][:, :3].max()) == 0
    assert torch.equal(made[2][:, :-3, :-3], IMAGES[2][:, 3:, 3:])
    assert torch.equal(made[4][:, :, :-1], IMAGES[4][:, :, 1:])
    corners = draw(settings, 4000, generator())["crop"]
    assert corners.unique().tolist() == list(range(7))
