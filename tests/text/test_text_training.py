"""Students of text learn from their teachers, resume to the bit, and refuse what they cannot learn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import bert
from torch import Tensor

from edgekd.engine.events import Progress, Silent
from edgekd.errors import ConfigError
from edgekd.text import folders, train
from edgekd.text import tokens as token_rows
from edgekd.text.folders import Model
from edgekd.text.metrics import fidelity
from edgekd.text.settings import (
    CosineLoss,
    DistillEmbedding,
    EmbeddingLoss,
    HiddenLoss,
    MarginsLoss,
    MiniLmLoss,
    QueueLoss,
    RelationsLoss,
    SimilaritiesLoss,
    TeachClasses,
    TextTraining,
)
from edgekd.text.tokens import Tokens, tokenize
from edgekd.text.truncate import by_magnitude, evenly, truncated
from edgekd.train.losses.settings import CrossEntropyLoss, DkdLoss, KdLoss

WORDS = ["cat", "dog", "mat", "road", "file", "red", "blue", "sat", "ran", "read", "write", "open"]
TRAIN = TextTraining(epochs=3, batch=16, learning_rate=3e-3, threads=1)
SILENT = Progress(Silent())


def texts(count: int) -> list[str]:
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(2, 9, (count,), generator=generator).tolist()
    return [" ".join(WORDS[n] for n in torch.randint(12, (size,), generator=generator)) for size in sizes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert.folder(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def teacher(folder: Path) -> Model:
    return folders.load(folder)


@pytest.fixture(scope="module")
def tokens(folder: Path) -> Tokens:
    return tokenize(texts(96), folder, 32)


@pytest.fixture(scope="module")
def targets(teacher: Model, tokens: Tokens) -> Tensor:
    return train.answers(teacher, tokens)


def student(teacher: Model, **more: Any) -> Model:
    shape = teacher.net.shape.model_copy(update={"heads": (4,), "units": (24,)} | more)
    return truncated(teacher, shape, evenly(3, 1), by_magnitude(teacher.net))


def alike(model: Model, tokens: Tokens, targets: Tensor) -> float:
    """How far student and teacher agree on which texts are alike."""
    return fidelity(train.answers(model, tokens).numpy(), targets.numpy())["similarity_spearman"]


def test_what_a_teacher_says_of_a_text_depends_on_no_other(teacher: Model, tokens: Tokens, targets: Tensor) -> None:
    alone = torch.cat([train.answers(teacher, tokens.only([row])) for row in range(5)])
    torch.testing.assert_close(targets[:5], alone, atol=1e-5, rtol=0)


def test_texts_longer_than_the_net_reads_are_refused(teacher: Model, tokens: Tokens, tmp_path: Path) -> None:
    model = student(teacher, max_positions=5)
    with pytest.raises(ConfigError, match=r"texts of 10 tokens, and the net reads 5; cut them there, or raise max_pos"):
        train.answers(model, tokens)
    with pytest.raises(ConfigError, match=r"texts of 10 tokens, and the net reads 5"):
        train.distil(model, tokens, torch.zeros(96, 32), DistillEmbedding(train=TRAIN), tmp_path, SILENT, teacher)


def test_asking_leaves_a_net_in_its_mode(teacher: Model, tokens: Tokens) -> None:
    model = student(teacher)
    model.net.train()
    train.answers(model, tokens)
    assert model.net.training


@pytest.mark.parametrize(
    "losses",
    [
        (EmbeddingLoss(),),
        (CosineLoss(name="cosine"), SimilaritiesLoss(name="similarities")),
        (QueueLoss(name="queue", queue=64),),
        (MarginsLoss(name="margins"), EmbeddingLoss(weight=0.1)),
        (MiniLmLoss(name="minilm"), EmbeddingLoss()),
        (RelationsLoss(name="relations", relation_heads=8), EmbeddingLoss()),
        (RelationsLoss(name="relations", relation_heads=5, measure="mse", layer=2), EmbeddingLoss()),
        (HiddenLoss(name="hidden"), EmbeddingLoss()),
    ],
    ids=lambda losses: losses[0].name,
)
def test_each_loss_brings_the_student_nearer(
    teacher: Model, tokens: Tokens, targets: Tensor, tmp_path: Path, losses: Any
) -> None:
    model = folders.build(teacher.net.shape.model_copy(update={"heads": (4,), "units": (24,)}), 0)
    before = alike(model, tokens, targets)
    settings = DistillEmbedding(losses=losses, freeze_words=False, train=TRAIN)
    train.distil(model, tokens, targets, settings, tmp_path, SILENT, teacher)
    assert alike(model, tokens, targets) > before + 0.05


def test_a_frozen_table_stays_the_teachers(teacher: Model, tokens: Tokens, targets: Tensor, tmp_path: Path) -> None:
    found = {}
    for frozen in (True, False):
        model, scratch = student(teacher), tmp_path / str(frozen)
        scratch.mkdir()
        settings = DistillEmbedding(freeze_words=frozen, train=TRAIN)
        train.distil(model, tokens, targets, settings, scratch, SILENT, teacher)
        found[frozen] = torch.equal(model.net.words.weight, teacher.net.words.weight)
    assert found == {True: True, False: False}


class KilledError(Exception):
    pass


@pytest.mark.parametrize("losses", [(QueueLoss(name="queue", queue=40),), (HiddenLoss(name="hidden"),)], ids=["q", "h"])
def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(
    folder: Path, tokens: Tokens, targets: Tensor, tmp_path: Path, losses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = folders.load(folder)
    settings = DistillEmbedding(losses=losses, freeze_words=False, train=TRAIN)

    def run(name: str) -> dict[str, Tensor]:
        model = student(teacher, hidden_size=24, embedding_size=24)
        (tmp_path / name).mkdir(exist_ok=True)
        train.distil(model, tokens, targets, settings, tmp_path / name, SILENT, teacher)
        return model.net.state_dict()

    whole = run("whole")
    buckets, seen = token_rows.buckets, iter(range(99))

    def dying(*args: Any) -> Iterator[Tensor]:
        if next(seen) == 2:
            raise KilledError
        yield from buckets(*args)

    monkeypatch.setattr(token_rows, "buckets", dying)
    with pytest.raises(KilledError):
        run("killed")
    monkeypatch.undo()
    resumed = run("killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_static_student_learns_the_mean_of_token_vectors(
    teacher: Model, tokens: Tokens, targets: Tensor, tmp_path: Path
) -> None:
    model = truncated(teacher, teacher.net.shape.static(), (), by_magnitude(teacher.net))
    before = float((train.answers(model, tokens) * targets).sum(1).mean())
    settings = DistillEmbedding(freeze_words=False, train=TRAIN)
    train.distil(model, tokens, targets, settings, tmp_path, SILENT, teacher)
    assert float((train.answers(model, tokens) * targets).sum(1).mean()) > before + 0.1


@pytest.mark.parametrize("taught", [False, True])
def test_a_classifier_learns_from_labels_and_from_a_teacher(
    teacher: Model, tokens: Tokens, tmp_path: Path, taught: bool
) -> None:
    reds = torch.tensor([int("red" in text) for text in texts(96)])
    shape = teacher.net.shape.model_copy(update={"heads": (4,), "units": (48,)})
    model = truncated(teacher, shape, (2,), by_magnitude(teacher.net), ("no", "yes"))
    logits = torch.nn.functional.one_hot(reds, 2).float() * 8 if taught else None
    losses: Any = (KdLoss(name="kd"),) if taught else (CrossEntropyLoss(name="cross-entropy", weight=1.0),)
    settings = TeachClasses(losses=losses, train=TRAIN.model_copy(update={"epochs": 20}))
    wrong = 1 - reds if taught else reds  # the teacher is right, the labels are not
    train.teach(model, tokens, wrong, settings, tmp_path, SILENT, targets=logits)
    assert (train.answers(model, tokens).argmax(1) == reds).float().mean() > 0.95


def test_texts_that_are_made_of_others_teach_what_the_teacher_says_of_them(
    teacher: Model, tokens: Tokens, tmp_path: Path
) -> None:
    """What it says of the texts themselves is withheld, and their labels are wrong."""
    reds = torch.tensor([int("red" in text) for text in texts(96)])
    shape = teacher.net.shape.model_copy(update={"heads": (4,), "units": (48,)})
    knows, learns = (truncated(teacher, shape, (2,), by_magnitude(teacher.net), ("no", "yes")) for _ in range(2))
    (tmp_path / "knows").mkdir()
    plan = TRAIN.model_copy(update={"epochs": 20})
    by_labels: Any = (CrossEntropyLoss(name="cross-entropy", weight=1.0),)
    train.teach(knows, tokens, reds, TeachClasses(losses=by_labels, train=plan), tmp_path / "knows", SILENT)
    both: Any = (KdLoss(name="kd"), CrossEntropyLoss(name="cross-entropy", weight=0.1))
    settings = TeachClasses(losses=both, mixed=5, train=TRAIN.model_copy(update={"epochs": 8}))
    nothing = torch.zeros(96, 2)
    train.teach(learns, tokens, 1 - reds, settings, tmp_path, SILENT, targets=nothing, teacher=knows)
    assert (train.answers(learns, tokens).argmax(1) == reds).float().mean() > 0.9


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ((KdLoss(name="kd"),), "mixed: a teacher has to say what these texts are"),
        ((DkdLoss(name="dkd"),), "mixed: dkd has to know the class of every text; take kd"),
        ((HiddenLoss(name="hidden"),), "mixed: a teacher has to say what these texts are: .* and kd"),
    ],
)
def test_made_up_texts_need_a_teachers_word(
    teacher: Model, tokens: Tokens, tmp_path: Path, losses: Any, said: str
) -> None:
    settings = TeachClasses(losses=losses, mixed=1, train=TRAIN)
    model = folders.build(teacher.net.shape, 0, ("a", "b"))
    given = None if losses[0].name == "kd" else teacher
    with pytest.raises(ConfigError, match=said):
        train.teach(model, tokens, torch.zeros(96, dtype=torch.int64), settings, tmp_path, SILENT,
                    targets=torch.zeros(96, 2), teacher=given)  # fmt: skip


def test_a_classifier_learns_from_layers_and_then_from_logits_too(
    teacher: Model, tokens: Tokens, tmp_path: Path
) -> None:
    reds = torch.tensor([int("red" in text) for text in texts(96)])
    logits = torch.nn.functional.one_hot(reds, 2).float() * 8
    model = folders.build(teacher.net.shape.model_copy(update={"heads": (4,), "units": (48,)}), 0, ("no", "yes"))
    ids, mask = tokens.read(torch.arange(96))

    @torch.no_grad()
    def apart() -> float:
        return float(
            (model.net.states(ids, mask).hidden[-1] - teacher.net.states(ids, mask).hidden[-1]).square().mean()
        )

    before = apart()
    latent: Any = (HiddenLoss(name="hidden"), KdLoss(name="kd", start=0.5))
    settings = TeachClasses(losses=latent, train=TRAIN.model_copy(update={"epochs": 30}))
    train.teach(model, tokens, 1 - reds, settings, tmp_path, SILENT, targets=logits, teacher=teacher)
    assert apart() < before
    assert (train.answers(model, tokens).argmax(1) == reds).float().mean() > 0.95


def test_losses_of_layers_are_refused_without_a_teacher(teacher: Model, tokens: Tokens, tmp_path: Path) -> None:
    settings = TeachClasses(losses=(HiddenLoss(name="hidden"),), train=TRAIN)
    model = folders.build(teacher.net.shape, 0, ("a", "b"))
    with pytest.raises(ConfigError, match="hidden looks at a teacher's layers, and there is no teacher"):
        train.teach(model, tokens, torch.zeros(96, dtype=torch.int64), settings, tmp_path, SILENT)


def test_losses_that_need_a_teacher_are_refused_without_one(teacher: Model, tokens: Tokens, tmp_path: Path) -> None:
    settings = TeachClasses(losses=(KdLoss(name="kd"),), train=TRAIN)
    model = folders.build(teacher.net.shape, 0, ("a", "b"))
    with pytest.raises(ConfigError, match="kd needs a teacher's logits, and there is no teacher"):
        train.teach(model, tokens, torch.zeros(96, dtype=torch.int64), settings, tmp_path, SILENT)


@pytest.mark.parametrize(
    ("losses", "change", "said"),
    [
        ((MiniLmLoss(name="minilm"),), {"heads": (3,)}, "compares 3 heads of the student with 4 of the teacher"),
        ((RelationsLoss(name="relations", relation_heads=33),), {}, "relation_heads 33 of a width of 32"),
        ((RelationsLoss(name="relations", layer=4),), {}, "relations of layer 4; the teacher has 3"),
        ((EmbeddingLoss(),), {"output_size": 16}, "embeddings have 16 dimensions, the teacher's 32; set output_size"),
    ],
)
def test_losses_that_the_two_cannot_have_are_refused_before_training(
    teacher: Model, tokens: Tokens, targets: Tensor, tmp_path: Path, losses: Any, change: dict[str, Any], said: str
) -> None:
    model = folders.build(teacher.net.shape.model_copy(update={"heads": (4,), "units": (24,)} | change), 0)
    with pytest.raises(ConfigError, match=said):
        train.distil(model, tokens, targets, DistillEmbedding(losses=losses, train=TRAIN), tmp_path, SILENT, teacher)


def test_a_student_without_layers_has_none_to_compare(
    teacher: Model, tokens: Tokens, targets: Tensor, tmp_path: Path
) -> None:
    settings = DistillEmbedding(losses=(HiddenLoss(name="hidden"),), train=TRAIN)
    with pytest.raises(ConfigError, match="hidden looks at layers, and the student has none"):
        train.distil(folders.build(teacher.net.shape.static(), 0), tokens, targets, settings, tmp_path, SILENT, teacher)


def test_relations_of_other_tokens_than_the_teachers_are_refused(
    teacher: Model, tokens: Tokens, targets: Tensor, tmp_path: Path
) -> None:
    settings = DistillEmbedding(losses=(RelationsLoss(name="relations", relation_heads=8),), train=TRAIN)
    with pytest.raises(ConfigError, match="token by token, and the student's tokens differ"):
        train.distil(student(teacher), tokens, targets, settings, tmp_path, SILENT, teacher,
                     teacher_tokens=tokens.only(range(90)))  # fmt: skip
