"""Which sub-networks of a supernet are measured, and which of them is taken."""

from __future__ import annotations

import pytest

from edgekd import tasks
from edgekd.errors import ConfigError
from edgekd.text.shape import EncoderShape
from edgekd.text.subnets import best, front
from edgekd.text.supernet import Scored

SHAPE = EncoderShape(vocab_size=300, hidden_size=32, embedding_size=32, output_size=32, head_size=8, heads=(4,),
                     units=(48,), max_positions=64)  # fmt: skip


def scored(*rows: tuple[int, float]) -> list[Scored]:
    return [Scored(SHAPE, loss, 1, macs) for macs, loss in rows]


def test_only_those_are_measured_that_none_beats_for_as_little_work() -> None:
    assert front(scored((30, 0.2), (10, 0.5), (20, 0.6), (20, 0.3), (40, 0.2)), 8) == [1, 3, 0]


def test_of_many_as_many_are_measured_as_are_asked_for_from_the_least_to_the_most() -> None:
    many = scored(*((10 * n, 1.0 - n / 100) for n in range(50)))
    assert front(many, 4) == [0, 16, 33, 49]


@pytest.mark.parametrize(("least", "chosen"), [(1.0, 2), (2.0, 1), (3.5, 0), (9.0, 0)])
def test_the_least_loss_of_what_is_fast_enough_is_taken_and_the_fastest_where_none_is(
    least: float, chosen: int
) -> None:
    assert best([0.5, 0.3, 0.2], [4.0, 2.0, 1.5], least) == chosen


def test_a_search_beside_a_trimmed_vocabulary_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"search: asks the teacher's layers, token by token; leave keep\.vocabulary"):
        tasks.load("sentence-embedding", ["search={band: tiny}", "keep.vocabulary=9000"])
