"""A student is a stock BERT for others, with the same answers, or the reason is said why it cannot be one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import bert
from transformers import AutoModelForSequenceClassification, BertModel, pipeline

from edgekd.errors import UnsupportedError
from edgekd.text import folders, stock
from edgekd.text.folders import Model
from edgekd.text.shape import EncoderShape

SHAPE = EncoderShape(
    vocab_size=len(bert.VOCABULARY), hidden_size=32, embedding_size=32, output_size=32, head_size=8, heads=(4, 2, 1),
    units=(48, 24, 8), max_positions=64,
)  # fmt: skip
CLASSES = ("no", "yes", "maybe")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    bert.tokenizer(folder)
    return folder


def encoder(labels: tuple[str, ...] = (), **changes: Any) -> Model:
    model = folders.build(SHAPE.model_copy(update=changes), 0, labels)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"heads": (2, 2), "units": (24, 24), "share": 2},
        {"embedding_size": 12},
        {"activation": "relu"},
        {"heads": (), "units": ()},
    ],
    ids=["fewer heads and units", "shared layers", "factorised table", "relu", "no layers"],
)
def test_a_stock_bert_gives_the_tokens_that_the_student_gives(
    tokenizer: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    model = encoder(**changes)
    stock.write(model, tokenizer, 64, tmp_path)
    theirs, told = BertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids, mask = bert.read(tmp_path, bert.TEXTS)
    with torch.no_grad():
        own = model.net.tokens(ids, mask) * mask[..., None]
        found = theirs.eval()(ids, mask).last_hidden_state * mask[..., None]
    torch.testing.assert_close(found, own, atol=2e-5, rtol=0)


def test_a_classifier_loads_in_a_pipeline_of_transformers_with_its_own_answers(tokenizer: Path, tmp_path: Path) -> None:
    model = encoder(CLASSES, pooling="cls", pooler=True, normalize=False)
    stock.write(model, tokenizer, 64, tmp_path)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    ids, mask = bert.read(tmp_path, bert.TEXTS)
    with torch.no_grad():
        logits = model.net(ids, mask)
        torch.testing.assert_close(theirs.eval()(ids, mask).logits, logits, atol=2e-5, rtol=0)
    said = pipeline("text-classification", model=str(tmp_path))(bert.TEXTS)
    assert [row["label"] for row in said] == [CLASSES[number] for number in logits.argmax(1).tolist()]


@pytest.mark.parametrize("changes", [{}, {"pooling": "cls"}, {"output_size": 20}, {"normalize": False}], ids=str)
def test_an_embedding_loads_in_sentence_transformers_with_its_own_answers(
    tokenizer: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    library = pytest.importorskip("sentence_transformers", reason="is not among edgekd's own dependencies")
    model = encoder(**changes)
    stock.write(model, tokenizer, 64, tmp_path)
    ids, mask = bert.read(tmp_path, bert.TEXTS)
    with torch.no_grad():
        own = model.net(ids, mask).numpy()
    np.testing.assert_allclose(
        library.SentenceTransformer(str(tmp_path), device="cpu").encode(bert.TEXTS), own, atol=2e-5
    )


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (encoder(heads=(), units=(), max_positions=0), "a static embedding is no BERT"),
        (encoder(heads=(5,), units=(8,)), "5 heads of 8 are more than BERT has in 32 dimensions"),
        (encoder(CLASSES), "BERT reads classes from the first token"),
        (encoder(CLASSES, pooling="cls", pooler=True, output_size=20), "has no projection before its dense layer"),
    ],
    ids=["static", "more heads", "classes from the mean", "projection"],
)
def test_what_bert_cannot_say_is_refused_with_the_reason(
    tokenizer: Path, tmp_path: Path, model: Model, why: str
) -> None:
    with pytest.raises(UnsupportedError, match=why):
        stock.write(model, tokenizer, 64, tmp_path)
