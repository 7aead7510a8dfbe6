"""Texts as tokens: cut once with the teacher's own tokenizer, kept as one long row, read in batches of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from edgekd.errors import ConfigError
from edgekd.text.folders import TOKENIZER

FILE = "tokens.safetensors"
LEFT_OUT = 0.15  # of the tokens of a text that is made of one
BUCKET = 32  # batches among which texts are sorted by length


@dataclass(frozen=True)
class Tokens:
    """
    `ids` of all texts one after the other; text n is ids[offsets[n]:offsets[n + 1]]; `offsets` [N + 1].

    `cut` texts were longer than `length` tokens and lost their ends. No text is empty: [CLS] and [SEP] are there.
    """

    ids: Tensor
    offsets: Tensor
    length: int
    padding: int
    cut: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        return self.offsets.diff()

    def read(self, rows: Tensor, length: int | None = None) -> tuple[Tensor, Tensor]:
        """Ids and mask [B, T] int64, padded to `length`, or to the longest of these rows; what is longer is cut."""
        sizes = self.lengths[rows]
        width = int(sizes.max()) if length is None else length
        place = torch.arange(width)
        mask = place < sizes[:, None]
        where = (self.offsets[rows][:, None] + place).clamp(max=len(self.ids) - 1)
        return torch.where(mask, self.ids[where].long(), self.padding), mask.long()

    def only(self, rows: Sequence[int] | Tensor) -> Tokens:
        """Those of some texts."""
        chosen = torch.as_tensor(rows, dtype=torch.int64)
        parts = [self.ids[self.offsets[row] : self.offsets[row + 1]] for row in chosen.tolist()]
        ends = self.lengths[chosen].cumsum(0)
        return Tokens(torch.cat(parts), torch.cat([ends.new_zeros(1), ends]), self.length, self.padding)

    def beside(self, others: Tokens) -> Tokens:
        """These, then the others."""
        ids, offsets = torch.cat([self.ids, others.ids]), torch.cat([self.offsets, others.offsets[1:] + len(self.ids)])
        return replace(self, ids=ids, offsets=offsets, cut=self.cut + others.cut)

    def save(self, folder: Path) -> None:
        told = {"length": str(self.length), "padding": str(self.padding), "cut": str(self.cut)}
        save_file({"ids": self.ids, "offsets": self.offsets}, folder / FILE, told)


def load(folder: Path) -> Tokens:
    from safetensors import safe_open

    with safe_open(folder / FILE, "pt") as file:
        told = file.metadata()
    held = load_file(folder / FILE)
    return Tokens(held["ids"], held["offsets"], int(told["length"]), int(told["padding"]), int(told["cut"]))


def tokenizer_of(folder: Path) -> Tokenizer:
    """A folder's fast tokenizer, which neither pads nor cuts. Raises ConfigError where there is none."""
    path = folder / TOKENIZER
    if not path.is_file():
        raise ConfigError(f"{folder}: has no {TOKENIZER}; save it with a fast tokenizer of transformers")
    made = Tokenizer.from_file(str(path))
    made.no_padding()
    made.no_truncation()
    return made


def padding_of(tokenizer: Tokenizer) -> int:
    """The number of the padding's token: what it is doesn't matter, for masks hide it."""
    return next((n for name in ("[PAD]", "<pad>") if (n := tokenizer.token_to_id(name)) is not None), 0)


def tokenize(texts: Sequence[str], folder: Path, length: int) -> Tokens:
    """With the special tokens, at most `length` of them all a text."""
    made = tokenizer_of(folder)
    long = [len(one.ids) > length for one in made.encode_batch_fast(list(texts))]
    made.enable_truncation(length)
    rows = [one.ids for one in made.encode_batch_fast(list(texts))]
    sizes = torch.tensor([0, *map(len, rows)], dtype=torch.int64)
    ids = torch.tensor([number for row in rows for number in row], dtype=torch.int32)
    return Tokens(ids, sizes.cumsum(0), length, padding_of(made), sum(long))


def sentences(tokens: Tokens) -> Iterator[str]:
    """What a person should know of them."""
    sizes = tokens.lengths.float()
    yield (
        f"{len(tokens)} texts of {sizes.mean():.1f} tokens on average, at most {int(sizes.max())}, special ones counted"
    )
    if tokens.cut:
        yield f"{tokens.cut} of {len(tokens)} texts are longer than {tokens.length} tokens: the rest is not read"


def mixed(tokens: Tokens, count: int, seed: int) -> Tokens:
    """
    `count` texts that nobody wrote, for a teacher to say what they are: the head of one with the tail of another, or
    one that has lost each token with a chance of 0.15. First and last, the special ones, stay.

    After Tang et al., "Distilling task-specific knowledge from BERT into simple neural networks" (2019), section 3.3,
    who mask words, replace some by others of their kind, and take n-grams; here heads and tails are in their place.
    """
    draw = torch.Generator().manual_seed(seed)
    rows = []
    for one, other, by_halves in zip(
        torch.randint(len(tokens), (count,), generator=draw).tolist(),
        torch.randint(len(tokens), (count,), generator=draw).tolist(),
        (torch.rand(count, generator=draw) < 0.5).tolist(),
        strict=True,
    ):
        first, body, last = _parted(tokens, one)
        if by_halves:
            _, tail, _ = _parted(tokens, other)
            ends = torch.rand(2, generator=draw)
            kept = torch.cat([body[: 1 + int(ends[0] * len(body))], tail[int(ends[1] * len(tail)) :]])
        else:
            kept = body[torch.rand(len(body), generator=draw) >= LEFT_OUT]
        rows.append(torch.cat([first, kept[: tokens.length - 2], last]))
    sizes = torch.tensor([0, *map(len, rows)], dtype=torch.int64)
    return Tokens(torch.cat(rows), sizes.cumsum(0), tokens.length, tokens.padding)


def _parted(tokens: Tokens, row: int) -> tuple[Tensor, Tensor, Tensor]:
    """A text's first token, what is between, its last."""
    ids = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]]
    return ids[:1], ids[1:-1], ids[-1:]


def buckets(tokens: Tokens, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """
    Rows of one epoch's batches: every text once, texts of like length together.

    Texts are shuffled, sorted by length within each `BUCKET` batches, and the batches shuffled again: the same for the
    same generator.
    """
    order = torch.randperm(len(tokens), generator=generator)
    batches: list[Tensor] = []
    for some in order.split(batch * BUCKET):
        batches += some[tokens.lengths[some].argsort(stable=True)].split(batch)
    for number in torch.randperm(len(batches), generator=generator).tolist():
        yield batches[number]
