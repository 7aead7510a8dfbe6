"""
A vocabulary trimmed to what the data needs: the table of words is most of a small encoder.

WordPiece takes the longest piece that it has, so a text whose pieces are all kept is cut as before; a word that lost
its piece falls into smaller ones, down to letters, all of which are kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekd.errors import ConfigError
from edgekd.text.folders import TOKENIZER, TOKENIZER_FILES, copy_tokenizer
from edgekd.text.tokens import Tokens, tokenizer_of

CONTINUED, UNUSED = "##", "[unused"


@dataclass(frozen=True)
class Coverage:
    """Of held-out text, cut by the whole vocabulary: how many of its pieces are not kept, and what comes of that."""

    pieces: int
    missing: int
    unknown: int  # pieces that are the unknown token in the trimmed vocabulary
    unknown_before: int
    longer_percent: float  # how many more pieces there are, special ones not counted

    @property
    def missing_percent(self) -> float:
        return 100 * self.missing / max(1, self.pieces)

    def sentence(self, size: int) -> str:
        return (
            f"a vocabulary of {size} pieces lacks {self.missing_percent:.2f} % of the {self.pieces} in held-out text, "
            f"which gets {self.longer_percent:.2f} % longer; unknown are {self.unknown}, with the whole one "
            f"{self.unknown_before}"
        )


def chosen(folder: Path, tokens: Tokens, size: int) -> Tensor:
    """
    Numbers of the pieces that are kept, ascending, [`size`]: the special ones and all letters, then those that the
    texts hold, the most frequent first, then the others in the order of the vocabulary, which is the order of how
    frequent they were where it was made.

    Raises ConfigError where `size` leaves no room for letters, or is more than there are.
    """
    numbers = _pieces(folder)
    letters = (number for piece, number in numbers.items() if len(piece.removeprefix(CONTINUED)) == 1)
    always = sorted({*_special(folder), *letters})
    if not len(always) < size <= len(numbers):
        raise ConfigError(
            f"vocabulary: {size}, and {folder} has {len(numbers)} pieces, of which {len(always)} are letters; keep "
            "some between"
        )
    counts = torch.bincount(tokens.ids.long(), minlength=len(numbers))
    counts[[number for piece, number in numbers.items() if piece.startswith(UNUSED)]] = -1  # these come last
    kept = dict.fromkeys(always)
    for number in counts.argsort(descending=True, stable=True).tolist():  # equal ones in the vocabulary's order
        if len(kept) == size:
            break
        kept.setdefault(number)
    return torch.tensor(sorted(kept))


def trim(folder: Path, kept: Tensor, out: Path) -> None:
    """The tokenizer of `folder` with the pieces that are kept, numbered anew in their order."""
    copy_tokenizer(folder, out)
    told = _told(folder)
    new = {int(old): number for number, old in enumerate(kept.tolist())}
    told["model"]["vocab"] = {piece: new[number] for piece, number in _pieces(folder).items() if number in new}
    told["added_tokens"] = [one | {"id": new[one["id"]]} for one in told["added_tokens"]]
    told["post_processor"] = _renumbered(told["post_processor"], new)
    (out / TOKENIZER).write_text(json.dumps(told, ensure_ascii=False), "utf-8")
    names = sorted(told["model"]["vocab"], key=told["model"]["vocab"].__getitem__)
    if (out / TOKENIZER_FILES[-1]).is_file():
        (out / TOKENIZER_FILES[-1]).write_text("\n".join(names) + "\n", "utf-8")


def coverage(texts: Sequence[str], folder: Path, trimmed: Path, kept: Tensor) -> Coverage:
    """What the trimmed tokenizer does to texts that it was not made of."""
    whole, less = tokenizer_of(folder), tokenizer_of(trimmed)
    before, after = (made.encode_batch_fast(list(texts), add_special_tokens=False) for made in (whole, less))
    old = [number for one in before for number in one.ids]
    new = [number for one in after for number in one.ids]
    known = set(kept.tolist())
    return Coverage(
        pieces=len(old),
        missing=sum(number not in known for number in old),
        unknown=new.count(_unknown(trimmed)),
        unknown_before=old.count(_unknown(folder)),
        longer_percent=100 * (len(new) / max(1, len(old)) - 1),
    )


def _renumbered(processor: Any, new: dict[int, int]) -> Any:
    """What puts [CLS] and [SEP] around a text knows them by number: in either of two ways to write it."""
    if isinstance(processor, dict):
        if processor.get("type") == "BertProcessing":
            return processor | {name: [processor[name][0], new[processor[name][1]]] for name in ("sep", "cls")}
        return {
            name: [new[number] for number in value] if name == "ids" else _renumbered(value, new)
            for name, value in processor.items()
        }
    return [_renumbered(value, new) for value in processor] if isinstance(processor, list) else processor


def _told(folder: Path) -> dict[str, Any]:
    tokenizer_of(folder)  # which says where there is none
    told: dict[str, Any] = json.loads((folder / TOKENIZER).read_text("utf-8"))
    kind = told["model"].get("type", "WordPiece" if "max_input_chars_per_word" in told["model"] else "unknown")
    if kind != "WordPiece":
        raise ConfigError(f"vocabulary: the tokenizer of {folder} is {kind}; edgekd trims WordPiece, leave it whole")
    return told


def _pieces(folder: Path) -> dict[str, int]:
    found: dict[str, int] = _told(folder)["model"]["vocab"]
    return found


def _special(folder: Path) -> list[int]:
    return [one["id"] for one in _told(folder)["added_tokens"]]


def _unknown(folder: Path) -> int:
    model = _told(folder)["model"]
    return int(model["vocab"][model["unk_token"]])
