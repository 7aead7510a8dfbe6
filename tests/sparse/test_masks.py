"""Which weights stay: exactly as many as were asked for, the highest ones, whatever the shape."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekd.sparse.masks import lowest_of_all_out, lowest_out, n_of_m

sides = st.integers(1, 9)
kernels = st.sampled_from([(), (1, 1), (3, 3), (5, 1)])


@given(
    group=st.sampled_from([(2, 4), (1, 4), (4, 8), (1, 2), (3, 5)]), out=sides, groups=st.integers(1, 4),
    kernel=kernels, same=st.booleans(),
)  # fmt: skip
def test_n_of_m_holds_along_input_channels_for_every_shape(
    group: tuple[int, int], out: int, groups: int, kernel: tuple[int, ...], same: bool
) -> None:
    kept, size = group
    shape = (out, groups * size, *kernel)
    scores = torch.zeros(shape) if same else torch.rand(shape)
    mask = n_of_m(scores, kept, size)
    assert mask.shape == shape
    grouped = mask.movedim(1, -1).reshape(-1, size)
    assert torch.equal(grouped.sum(1), torch.full((len(grouped),), kept))
    ordered = scores.movedim(1, -1).reshape(-1, size)
    least = torch.where(grouped, ordered, torch.inf).amin(1)
    assert (least >= torch.where(grouped, -torch.inf, ordered).amax(1)).all()


def test_channels_that_are_no_multiple_are_refused() -> None:
    with pytest.raises(ValueError, match="6 input channels are no multiple of 4"):
        n_of_m(torch.ones(2, 6), 2, 4)


@given(out=sides, channels=sides, kernel=kernels, share=st.floats(0, 1))
def test_a_share_is_exact_and_of_the_lowest(out: int, channels: int, kernel: tuple[int, ...], share: float) -> None:
    scores = torch.rand(out, channels, *kernel)
    mask = lowest_out(scores, share)
    assert int((~mask).sum()) == round(share * scores.numel())
    if 0 < int(mask.sum()) < mask.numel():
        assert scores[mask].min() >= scores[~mask].max()


@given(out=sides, channels=sides, kernel=kernels, rows=st.integers(1, 4), columns=st.integers(1, 4))
def test_blocks_go_whole_and_the_least_of_them_first(
    out: int, channels: int, kernel: tuple[int, ...], rows: int, columns: int
) -> None:
    scores = torch.rand(out, channels, *kernel)
    scores[:rows, :columns] = 0
    mask = lowest_out(scores, 0.5, (rows, columns))
    for top in range(0, out, rows):
        for left in range(0, channels, columns):
            part = mask[top : top + rows, left : left + columns].flatten(2) if kernel else mask[
                top : top + rows, left : left + columns
            ][..., None]  # fmt: skip
            assert ((part == part[:1, :1]).all())  # fmt: skip
    blocks = -(-out // rows) * -(-channels // columns) * scores[0, 0].numel()
    if round(0.5 * blocks) >= scores[0, 0].numel():
        assert not mask[:rows, :columns].any()


def test_over_all_layers_the_less_important_one_loses_more() -> None:
    low, high = torch.rand(8, 8, 3, 3), torch.rand(8, 8, 3, 3) + 0.5
    one, other = lowest_of_all_out([low, high], 0.5)
    assert int((~one).sum() + (~other).sum()) == 8 * 8 * 9
    assert (~one).sum() > 2 * (~other).sum()
    alone, _ = lowest_of_all_out([low, high], 0.5, (4, 1))
    assert (~alone).sum() > 0
