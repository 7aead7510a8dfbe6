"""A supernet of text holds its band: what is taken out answers as it did within."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import bert
from torch import Tensor

from edgekd.engine.events import Progress, Silent
from edgekd.errors import ConfigError
from edgekd.text import folders, supernet, train
from edgekd.text.bands import BANDS, shapes
from edgekd.text.encoder import Encoder
from edgekd.text.folders import Model
from edgekd.text.settings import EmbeddingLoss, RelationsLoss, TextSupernet, TextTraining
from edgekd.text.shape import EncoderShape
from edgekd.text.supernet import Sandwich, cost, extract, picked, score, sliced, supernet_of, within
from edgekd.text.tokens import Tokens, tokenize
from edgekd.text.truncate import by_magnitude

SILENT = Progress(Silent())
BERT_BASE = EncoderShape(
    vocab_size=30522, hidden_size=768, embedding_size=768, output_size=768, head_size=64, heads=(12,) * 12,
    units=(3072,) * 12,
)  # fmt: skip
TOLD = TextSupernet(
    band="base", values=2, losses=(RelationsLoss(name="relations", relation_heads=4), EmbeddingLoss()),
    train=TextTraining(epochs=4, batch=8, learning_rate=3e-3, threads=1),
)  # fmt: skip


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return folders.load(bert.folder(tmp_path_factory.mktemp("bert")))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    words = ["cat", "dog", "mat", "road", "file", "red", "blue", "sat", "ran", "read", "write", "open"]
    drawn = torch.randint(12, (48, 6), generator=torch.Generator().manual_seed(0)).tolist()
    return tokenize([" ".join(words[n] for n in row) for row in drawn], bert.folder(tmp_path_factory.mktemp("b")), 16)


@pytest.fixture(scope="module")
def targets(teacher: Model, tokens: Tokens) -> Tensor:
    return train.answers(teacher, tokens)


@pytest.mark.parametrize(
    ("band", "layers", "heads", "hidden", "ratios"),
    [
        ("base", [9, 10, 11, 12], [9, 10, 11, 12], [544, 576, 608, 640], [2.5, 3.0, 3.5, 4.0]),
        ("small", [9, 10, 11, 12], [7, 8, 9, 10], [256, 288, 320, 352], [2.5, 3.0, 3.5, 4.0]),
        ("tiny", [4, 5, 6, 7], [7, 8, 9, 10], [128, 160, 192, 224], [2.0, 2.5, 3.0, 3.5]),
    ],
)
def test_the_bands_of_bert_base_are_the_published_ones(
    band: str, layers: list[int], heads: list[int], hidden: list[int], ratios: list[float]
) -> None:
    assert band in BANDS
    found = shapes(BERT_BASE, band)
    assert len(found) == 256
    assert sorted({shape.layers for shape in found}) == layers
    assert sorted({shape.heads[0] for shape in found}) == heads
    assert sorted({shape.hidden_size for shape in found}) == hidden
    assert sorted({round(shape.units[0] / shape.hidden_size, 1) for shape in found}) == ratios


@pytest.mark.parametrize(
    ("layers", "heads", "hidden", "ratio", "millions"),
    [(12, 9, 544, 3.0, 53.3), (11, 8, 352, 4.0, 29.8), (11, 7, 256, 3.0, 17.4), (7, 10, 160, 3.5, 9.1)],
)
def test_published_winners_have_as_many_real_parameters_as_their_tensors(
    layers: int, heads: int, hidden: int, ratio: float, millions: float
) -> None:
    """As counted from the tensors of the published code, pooler and token types among them; its formula says less."""
    change = {"heads": (heads,) * layers, "units": (round(ratio * hidden),) * layers, "hidden_size": hidden}
    with torch.device("meta"):
        net = Encoder(BERT_BASE.model_copy(update=change | {"embedding_size": hidden, "output_size": hidden}))
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


def test_a_part_of_few_layers_runs_the_first_and_the_last_one(teacher: Model) -> None:
    """All of the last layer is in it, which makes the embedding."""
    model, band = supernet_of(teacher, TOLD, by_magnitude(teacher.net))
    few = min(band, key=lambda shape: shape.layers)
    assert few.layers < model.net.shape.layers
    found, own = sliced(model.net, few), dict(model.net.named_parameters())
    for mine, place in ((0, 0), (few.layers - 1, model.net.shape.layers - 1)):
        bias = own[f"layers.{place}.down.bias"]
        assert torch.equal(found[f"layers.{mine}.down.bias"], bias[: few.hidden_size])


def test_what_is_taken_out_answers_as_it_did_within(teacher: Model, tokens: Tokens) -> None:
    model, band = supernet_of(teacher, TOLD, by_magnitude(teacher.net))
    sandwich, (ids, mask) = Sandwich(model.net), tokens.read(torch.arange(6))
    with torch.no_grad():
        torch.testing.assert_close(sandwich(band[-1], ids, mask)[1], model.net(ids, mask))
        for shape in band:
            torch.testing.assert_close(extract(model, shape).net(ids, mask), sandwich(shape, ids, mask)[1])


def test_parts_and_whole_share_their_weights(teacher: Model) -> None:
    model, band = supernet_of(teacher, TOLD, by_magnitude(teacher.net))
    with torch.no_grad():
        model.net.layer(0).up.weight[0, 0] = 123
    assert all(float(sliced(model.net, shape)["layers.0.up.weight"][0, 0]) == 123 for shape in band)


def test_the_most_important_heads_come_first(teacher: Model) -> None:
    importance = by_magnitude(teacher.net)
    model, _ = supernet_of(teacher, TOLD, importance)
    first = int(importance.heads[0].argmax())
    own = model.net.layer(0).qkv.bias.view(3, -1, 8)[:, 0]
    torch.testing.assert_close(own, teacher.net.layer(0).qkv.bias.view(3, -1, 8)[:, first])


def test_a_sandwich_has_the_largest_the_smallest_and_chance(teacher: Model) -> None:
    band = shapes(teacher.net.shape, "base", 2)
    one = picked(band, TOLD, 7)
    assert one[:2] == [band[-1], band[0]]
    assert len(one) == 4
    assert one == picked(band, TOLD, 7)
    assert {shape for step in range(60) for shape in picked(band, TOLD, step)} == {*band}


def test_all_of_a_band_learn_at_once(teacher: Model, tokens: Tokens, targets: Tensor, tmp_path: Path) -> None:
    model, band = supernet_of(teacher, TOLD, by_magnitude(teacher.net))
    before = score(model, band, tokens, targets, TOLD, teacher, SILENT)
    supernet.train(model, band, tokens, targets, TOLD, tmp_path, SILENT, teacher)
    after = score(model, band, tokens, targets, TOLD, teacher, SILENT)
    assert [one.shape for one in after] == list(band)
    assert all(now.loss < 0.8 * then.loss for now, then in zip(after, before, strict=True))


def test_costs_are_counted_on_what_is_taken_out(teacher: Model, tokens: Tokens, targets: Tensor) -> None:
    model, band = supernet_of(teacher, TOLD, by_magnitude(teacher.net))
    found = score(model, band, tokens.only(range(8)), targets, TOLD, teacher, SILENT)
    for one in found:
        net = extract(model, one.shape).net
        assert one.parameters == sum(p.numel() for p in net.parameters())
    shape, (_, macs) = band[0], cost(extract(model, band[0]).net)
    wide, hidden, units, n = shape.heads[0] * 8, shape.hidden_size, shape.units[0], 32
    by_hand = shape.layers * (4 * n * hidden * wide + 2 * n * n * wide + 2 * n * hidden * units)
    assert macs == by_hand + hidden * 32  # and the projection


def test_the_best_is_the_least_loss_that_can_be_afforded(teacher: Model, tokens: Tokens, targets: Tensor) -> None:
    model, band = supernet_of(teacher, TOLD, by_magnitude(teacher.net))
    found = score(model, band, tokens.only(range(8)), targets, TOLD, teacher, SILENT)
    most = sorted(one.macs for one in found)[len(found) // 2]
    chosen = within(found, most)
    assert chosen is not None
    assert chosen.macs <= most
    assert chosen.loss == min(one.loss for one in found if one.macs <= most)
    assert within(found, 1) is None


def test_a_teacher_of_unlike_layers_has_no_bands() -> None:
    with pytest.raises(ConfigError, match="layers differ, or share weights; a band is a share of like ones"):
        shapes(BERT_BASE.model_copy(update={"heads": (12,) * 11 + (6,)}), "base")
