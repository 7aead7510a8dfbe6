"""Texts become tokens once, and come back in batches that waste little."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from helpers import bert

from edgekd.errors import ConfigError
from edgekd.text import tokens
from edgekd.text.tokens import Tokens, buckets, tokenize

TEXTS = [*bert.TEXTS, "", "你好 世界", "the cat " * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert.folder(tmp_path_factory.mktemp("bert"))


def test_tokens_are_those_of_transformers(folder: Path) -> None:
    found = tokenize(bert.TEXTS, folder, 64)
    ids, mask = bert.read(folder, bert.TEXTS)
    assert torch.equal(found.read(torch.arange(len(bert.TEXTS)))[0], ids)
    assert torch.equal(found.read(torch.arange(len(bert.TEXTS)))[1], mask)


def test_an_empty_text_is_its_special_tokens(folder: Path) -> None:
    ids, mask = tokenize([""], folder, 64).read(torch.tensor([0]))
    assert ids.tolist() == [[2, 3]]  # [CLS] [SEP]
    assert mask.tolist() == [[1, 1]]


def test_another_script_is_unknown_words_and_no_error(folder: Path) -> None:
    ids, _ = tokenize(["你好"], folder, 64).read(torch.tensor([0]))
    assert ids.tolist() == [[2, 1, 1, 3]]  # [CLS] [UNK] [UNK] [SEP]: the tokenizer takes such signs one by one


def test_a_long_text_is_cut_counted_and_said(folder: Path) -> None:
    found = tokenize(TEXTS, folder, 24)
    assert found.cut == 1
    assert int(found.lengths.max()) == 24
    assert int(found.ids[-1]) == 3  # it ends with [SEP] all the same
    said = list(tokens.sentences(found))
    assert said[1] == "1 of 8 texts are longer than 24 tokens: the rest is not read"


def test_rows_can_be_padded_to_a_fixed_length(folder: Path) -> None:
    ids, mask = tokenize(TEXTS, folder, 64).read(torch.tensor([0, 3]), 32)
    assert ids.shape == mask.shape == (2, 32)
    assert (ids[mask == 0] == 0).all()


def test_tokens_are_kept_and_read_again(folder: Path, tmp_path: Path) -> None:
    found = tokenize(TEXTS, folder, 24)
    found.save(tmp_path)
    again = tokens.load(tmp_path)
    assert torch.equal(again.ids, found.ids)
    assert torch.equal(again.offsets, found.offsets)
    assert (again.length, again.padding, again.cut) == (24, 0, 1)


def test_some_rows_are_what_they_were(folder: Path) -> None:
    found = tokenize(TEXTS, folder, 64)
    assert torch.equal(found.only([4, 1]).read(torch.tensor([1]))[0], found.read(torch.tensor([1]))[0])


def lengths(count: int) -> Tokens:
    sizes = torch.randint(3, 60, (count,), generator=torch.Generator().manual_seed(1))
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
    return Tokens(torch.ones(int(ends[-1]), dtype=torch.int32), ends, 64, 0)


def test_an_epoch_visits_each_text_once_the_same_for_the_same_seed() -> None:
    made = lengths(1003)
    one, two, other = (list(buckets(made, 16, torch.Generator().manual_seed(seed))) for seed in (0, 0, 1))
    assert sorted(torch.cat(one).tolist()) == list(range(1003))
    assert len(one) == 63
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_batches_of_like_length_read_little_padding() -> None:
    made = lengths(2000)
    padded = sum(len(rows) * int(made.lengths[rows].max()) for rows in buckets(made, 16, torch.Generator()))
    assert padded < 1.1 * len(made.ids)


def test_a_folder_without_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no tokenizer\.json; save it with a fast tokenizer"):
        tokenize(["x"], tmp_path, 8)


def numbered(lengths: list[int]) -> Tokens:
    """Text n is 1, then n * 100 + 10 and on, then 2."""
    rows = [torch.tensor([1, *range(n * 100 + 10, n * 100 + 10 + size), 2]) for n, size in enumerate(lengths, 1)]
    sizes = torch.tensor([0, *map(len, rows)])
    return Tokens(torch.cat(rows).int(), sizes.cumsum(0), 12, 0)


def test_a_made_up_text_is_a_head_and_a_tail_or_what_is_left_of_one() -> None:
    given = numbered([10, 0, 1, 7, 4])
    found = tokens.mixed(given, 400, 0)
    assert len(found) == 400
    assert (found.length, int(found.lengths.max())) == (12, 12)
    kinds = set()
    for row in range(400):
        first, *body, last = found.ids[found.offsets[row] : found.offsets[row + 1]].tolist()
        assert (first, last) == (1, 2)
        parts = [list(group) for _, group in itertools.groupby(body, key=lambda token: token // 100)]
        assert len(parts) <= 2
        for part in parts:
            assert all(later > earlier for earlier, later in itertools.pairwise(part)) or len(parts) == 1
        if len(parts) == 2:
            kinds.add("halves")
            head, tail = parts
            assert head == [head[0] // 100 * 100 + 10 + n for n in range(len(head))]  # from its first token on
            assert tail == list(range(tail[0], tail[0] + len(tail)))
        elif parts and any(later - earlier > 1 for earlier, later in itertools.pairwise(parts[0])):
            kinds.add("left out")
    assert kinds == {"halves", "left out"}
    assert torch.equal(tokens.mixed(given, 400, 0).ids, found.ids)
    assert not torch.equal(tokens.mixed(given, 400, 1).ids[:200], found.ids[:200])


def test_texts_beside_others_stay_what_they_were() -> None:
    first, second = numbered([3, 2]), numbered([4])
    both = first.beside(second)
    assert len(both) == 3
    assert both.read(torch.tensor([1]))[0].tolist() == first.read(torch.tensor([1]))[0].tolist()
    assert both.read(torch.tensor([2]))[0].tolist() == second.read(torch.tensor([0]))[0].tolist()
