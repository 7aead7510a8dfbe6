"""What a place is worth: by the answers alone, or by all that changes on the way to them."""

from __future__ import annotations

import pytest
import torch

from edgekd.models import checkpoint
from edgekd.models.residual_cnn import mac_count
from edgekd.models.shape import NetShape
from edgekd.prune.ladder import gone, removed, said, scales_by_unit, shift, spared
from edgekd.prune.places import rungs, units_of

SHAPE = NetShape(stem_width=8, widths=((8, 8), (8, 8), (16, 16)), strides=(1, 1, 2))


def test_the_trajectory_is_every_stage_and_what_is_pooled_of_it() -> None:
    net = checkpoint.build(SHAPE, ["a", "b", "c"], 3, 0).net.eval()
    x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert {name: tuple(value.shape) for name, value in said(net, x, "trajectory").items()} == {
        "stage1": (5, 8, 8, 8), "stage2": (5, 16, 4, 4), "pooled": (5, 16), "logits": (5, 3),
    }  # fmt: skip
    torch.testing.assert_close(said(net, x, "trajectory")["logits"], said(net, x, "answers")["logits"])


@pytest.mark.parametrize("judged", ["answers", "trajectory"])
def test_a_whole_place_changes_nothing_and_fewer_units_change_more(judged: str) -> None:
    net = checkpoint.build(SHAPE, ["a", "b", "c"], 3, 0).net.eval()
    x = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = said(net, x, judged)  # type: ignore[arg-type]
    units = units_of(SHAPE)[0]
    stops = sorted(rungs(units, 4, SHAPE), reverse=True)
    _, weights = removed(net, units, x, set(stops))
    errors = [shift(net, units, weights[stays], stays, x, whole) for stays in stops]
    assert errors[0] == 0.0
    assert errors == sorted(errors)
    assert errors[1] > 0


def test_what_the_answers_do_not_show_the_trajectory_does() -> None:
    """A net that reads only one channel of its last stage: what the others lose, the logits do not tell."""
    net = checkpoint.build(SHAPE, ["a", "b", "c"], 3, 0).net.eval()
    with torch.no_grad():
        net.classifier.weight[:, 1:] = 0
    x = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    units = units_of(SHAPE)[-1]
    weights = {layer: torch.zeros_like(net.get_parameter(f"{layer}.weight")) for layer in units.readers}
    with torch.no_grad():  # all but what the first channel reads goes
        for layer in units.readers:
            weights[layer][0] = net.get_parameter(f"{layer}.weight")[0]
    errors = [shift(net, units, weights, 4, x, said(net, x, judged)) for judged in ("answers", "trajectory")]
    assert errors[0] == pytest.approx(0, abs=1e-9)
    assert errors[1] > 0.01


def test_by_size_a_rung_loses_the_macs_that_it_spares() -> None:
    model = checkpoint.build(SHAPE, ["a", "b", "c"], 3, 0)
    units = units_of(SHAPE)[1]
    whole, half, none = spared(model, units, [8, 4, 0], (3, 8, 8))
    branch = 2 * 9 * 8 * 8 * 64  # two 3 x 3 convolutions of 8 channels on 8 x 8 places
    assert (whole, half, none) == pytest.approx((0, branch / 2 / mac_count(model.net, (3, 8, 8)), 2 * half))


def test_by_scales_the_smallest_go_first_and_readers_make_up_for_them() -> None:
    net = checkpoint.build(SHAPE, ["a", "b", "c"], 3, 0).net.eval()
    units = units_of(SHAPE)[0]
    wanted = torch.tensor([0.5, 0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4])
    with torch.no_grad():
        net.get_parameter(f"{units.norms[0]}.weight").copy_(wanted * torch.tensor([1, -1] * 4))
    scales = scales_by_unit(net, units)
    torch.testing.assert_close(scales, wanted)
    x = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    order, weights = removed(net, units, x, {8, 4, 0}, scales)
    assert list(order) == [1, 3, 5, 7, 0, 6, 4, 2]
    whole = said(net, x, "answers")
    assert gone(scales, [8, 6, 0], 0.5) == pytest.approx([0, (0.1 + 0.2) / 0.5, float(wanted.sum()) / 0.5])
    plain = {name: net.get_parameter(f"{name}.weight").detach().clone() for name in units.readers}
    for weight in plain.values():
        weight[:, [1, 3, 5, 7]] = 0
    assert 0 < shift(net, units, weights[4], 4, x, whole) < shift(net, units, plain, 4, x, whole)
