"""Which units go under a latency: less error for the same time than the simpler ways, and never more than asked."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from edgekd.models import checkpoint
from edgekd.models.shape import NetShape, parameters, resnet
from edgekd.prune.choice import Room, Worth, chosen
from edgekd.prune.cut import predicted_for
from edgekd.prune.places import narrowed
from edgekd.prune.stages import By
from edgekd.prune.staircase import WHOLE, variants

SHAPE = NetShape(stem_width=8, widths=((16, 8), (16, 8), (32, 16), (32, 16)), strides=(1, 1, 2, 1))
RUNGS = {"0": [16, 8, 0], "1": [16, 8, 0], "2": [32, 24, 16, 8], "3": [32, 24, 16, 8, 0]}
WAYS: tuple[By, ...] = ("latency", "width", "depth", "uniform", "magnitude")


def worth(seed: int = 0) -> Worth:
    draw = np.random.default_rng(seed)
    errors, saved = dict[str, dict[int, float]](), dict[str, dict[int, float]]()
    for block, row in RUNGS.items():
        rises, gains = np.cumsum(draw.exponential(1, len(row) - 1)), np.cumsum(draw.uniform(0.02, 0.12, len(row) - 1))
        errors[block] = {row[0]: 0.0} | dict(zip(row[1:], map(float, rises), strict=True))
        saved[block] = dict(zip(row[1:], map(float, gains), strict=True))
    return Worth(errors, saved, {block: row[0] for block, row in RUNGS.items()})


def lost(known: Worth, stays: dict[str, int]) -> float:
    return sum(known.errors[block][count] for block, count in stays.items())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ratio", [0.95, 0.8, 0.6])
def test_every_way_keeps_the_ratio_and_latency_loses_least(seed: int, ratio: float) -> None:
    known, model = worth(seed), checkpoint.build(SHAPE, ["a", "b"], 3, seed)
    found = {by: chosen(known, model, by, ratio) for by in WAYS}
    losses = {by: lost(known, stays) for by, stays in found.items() if stays is not None}
    assert all(known.ratio(stays) <= ratio + 1e-9 for stays in found.values() if stays is not None)
    assert all(losses["latency"] <= other + 1e-9 for other in losses.values())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("most", [0.9, 0.6, 0.35])
def test_few_enough_parameters_are_left_and_nothing_as_fast_and_as_small_loses_less(seed: int, most: float) -> None:
    known, model, ratio = worth(seed), checkpoint.build(SHAPE, ["a", "b"], 3, seed), 0.9
    stays = chosen(known, model, "latency", ratio, most)
    assert stays is not None
    room = Room(ratio, SHAPE, most)
    assert room.holds(known, stays)
    left = parameters(narrowed(SHAPE, stays))
    others = [dict(zip(RUNGS, counts, strict=True)) for counts in product(*RUNGS.values())]
    better = [
        other
        for other in others
        if known.ratio(other) <= ratio - 0.001  # the choice counts time in bins
        and parameters(narrowed(SHAPE, other)) <= left
        and lost(known, other) < lost(known, stays) - 1e-6
    ]
    assert not better
    for by in WAYS[1:]:
        simple = chosen(known, model, by, ratio, most)
        assert simple is None or room.holds(known, simple)


@pytest.mark.parametrize("seed", range(5))
def test_width_leaves_no_block_out_depth_narrows_none_and_each_is_the_best_of_its_kind(seed: int) -> None:
    known, model, ratio = worth(seed), checkpoint.build(SHAPE, ["a", "b"], 3, seed), 0.85
    every = [dict(zip(RUNGS, counts, strict=True)) for counts in product(*RUNGS.values())]
    kinds = {
        "width": [stays for stays in every if all(stays.values())],
        "depth": [stays for stays in every if all(stays[place] in (0, row[0]) for place, row in RUNGS.items())],
    }
    assert {by: len(some) for by, some in kinds.items()} == {"width": 2 * 2 * 4 * 4, "depth": 2 * 2 * 2}
    for by, some in kinds.items():
        found = chosen(known, model, by, ratio)  # type: ignore[arg-type]
        able = [stays for stays in some if known.ratio(stays) <= ratio - 0.001]  # the choice counts time in bins
        assert found in some if found else not able
        assert found is None or all(lost(known, found) <= lost(known, stays) + 1e-6 for stays in able)


@pytest.mark.parametrize("seed", range(3))
def test_no_more_parameters_go_than_have_to(seed: int) -> None:
    """A looser limit loses less, and none loses nothing beside what the time takes."""
    known, model = worth(seed), checkpoint.build(SHAPE, ["a", "b"], 3, seed)
    found = [chosen(known, model, "latency", 0.9, most) for most in (1.0, 0.6, 0.35)]
    losses = [lost(known, stays) for stays in found if stays is not None]
    assert len(losses) == 3
    assert losses[0] < losses[1] < losses[2]


def test_fewer_parameters_than_the_smallest_net_has_are_not_promised() -> None:
    known, model = worth(), checkpoint.build(SHAPE, ["a", "b"], 3, 0)
    least = Room(1.0, SHAPE).share(known.least())
    assert chosen(known, model, "latency", 0.99, least - 0.01) is None
    assert chosen(known, model, "latency", 0.99, least + 1e-9) == known.least()


def test_a_block_may_go_by_latency_and_never_by_the_simpler_ways() -> None:
    known, model = worth(), checkpoint.build(SHAPE, ["a", "b"], 3, 0)
    least = known.ratio({block: min(row) for block, row in RUNGS.items()})
    assert chosen(known, model, "latency", least) == {block: min(row) for block, row in RUNGS.items()}
    assert chosen(known, model, "latency", least - 0.01) is None
    assert chosen(known, model, "uniform", least) is None
    assert chosen(known, model, "magnitude", least) is None


def test_magnitude_takes_the_weakest_filters_wherever_they_are() -> None:
    model = checkpoint.build(SHAPE, ["a", "b"], 3, 0)
    with torch.no_grad():
        for number in range(4):
            model.get_parameter(f"net.blocks.{number}.conv1.weight").fill_(0.01 if number == 2 else 1.0)
    stays = chosen(worth(), model, "magnitude", 0.95)
    assert stays is not None
    assert stays["2"] < 32
    assert [stays[block] for block in "013"] == [16, 16, 32]


def test_uniform_takes_the_same_share_everywhere() -> None:
    stays = chosen(worth(), checkpoint.build(SHAPE, ["a", "b"], 3, 0), "uniform", 0.8)
    assert stays is not None
    assert stays == {"0": 8, "1": 8, "2": stays["2"], "3": stays["2"]}
    assert stays["2"] in (16, 24)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (0.9, 0.9),  # where both agree
        (0.6, 0.7),  # half way between what was predicted 0.8 and 0.6, and measured 0.8 and 0.4
        (0.4, 0.6),
        (0.39, 0.6 - 0.2 / 30),
    ],
)
def test_what_is_asked_of_the_staircase_follows_what_was_measured(wanted: float, expected: float) -> None:
    points = [(0.4, 0.1), (0.8, 0.8), (0.6, 0.4)]
    assert predicted_for(points, wanted) == pytest.approx(expected)


def test_a_point_that_came_out_slower_than_a_larger_net_does_no_harm() -> None:
    assert 0.6 <= predicted_for([(0.8, 0.7), (0.7, 0.72), (0.6, 0.5)], 0.6) <= 0.7


def test_the_staircase_measures_each_kind_of_block_once() -> None:
    shape = NetShape(
        stem_width=8, widths=((8, 8),) * 3 + ((16, 16),) * 3, strides=(1, 1, 1, 2, 1, 1)
    )  # the first of the second stage reads fewer channels
    nets = variants(shape, 8)
    members = {"".join(places) for _, places, _ in nets.values()}
    assert members == {"", "012", "3", "45"}
    assert {("".join(places), stays) for _, places, stays in nets.values() if places} == {
        ("012", 0), ("3", 8), ("45", 8), ("45", 0)
    }  # fmt: skip
    assert nets[WHOLE][0] == shape
    assert len(nets["0 to 2, 0 units"][0].widths) == 3


def test_of_a_stage_every_layer_is_narrower_in_the_net_that_is_measured() -> None:
    nets = variants(resnet(14), 16, streams=True)
    assert {"".join(places) for _, places, _ in nets.values()} == {
        "", "01", "2", "3", "4", "5", "stream 1", "stream 2"
    }  # fmt: skip
    net, _, _ = nets["stream 2 to stream 2, 16 units"]
    assert net.widths[-2:] == ((64, 16), (64, 16))
    assert net.widths[:-2] == resnet(14).widths[:-2]
