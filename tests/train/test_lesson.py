"""Losses with features, projectors, memory and schedules: what they see, learn, remember and leave behind."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from edgekd.errors import ConfigError
from edgekd.models import checkpoint
from edgekd.models.features import HEADS, Featured, Listening, alikeness, known, linear_cka
from edgekd.models.residual_cnn import ResidualCnn
from edgekd.models.shape import NetShape, outputs_of
from edgekd.train.lesson import Lesson
from edgekd.train.losses import divergences
from edgekd.train.losses.settings import (
    AttentionLoss,
    CkdLoss,
    CrossEntropyLoss,
    HintLoss,
    KdLoss,
    LossSettings,
    OfaLoss,
    OfaStagesLoss,
    RkdLoss,
    SimilarityLoss,
    SquareHeadLoss,
    TaidLoss,
    UskdLoss,
    asked_of,
)
from edgekd.train.terms import Said, Taid, info_nce

SHAPE = NetShape(stem_width=8, widths=((8, 8), (8, 16), (16, 16)), strides=(1, 2, 1))
X = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def net(seed: int = 0, shape: NetShape = SHAPE) -> ResidualCnn:
    made: ResidualCnn = checkpoint.build(shape, ["a", "b", "c"], 3, seed).net
    return made


def logits(seed: int, count: int = 6) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))


def test_a_net_gives_its_outputs_by_name_and_the_same_logits() -> None:
    own = net().eval()
    names = known(own)
    assert names == ["stem", "block1", "block2", "block3", "stage1", "stage2", "pooled"]
    answer = Featured(own, names)(X)
    assert torch.equal(answer[0], own(X))
    shapes = {name: tuple(value.shape[1:]) for name, value in zip(names, answer[1:], strict=True)}
    assert shapes["stem"] == (8, 8, 8)
    assert shapes["stage1"] == shapes["block1"] == (8, 8, 8)
    assert shapes["stage2"] == shapes["block3"] == (16, 4, 4)
    assert torch.equal(answer[7], own.features(X).mean((2, 3)))


def test_a_teacher_of_another_kind_is_heard_by_the_paths_of_its_modules() -> None:
    teacher = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    listening = Listening(teacher, ["1"])
    answer, features = listening(X)
    assert torch.equal(answer, teacher(X))
    assert torch.equal(features["1"], teacher[1](teacher[0](X)))


def test_a_module_that_is_never_called_by_itself_is_named() -> None:
    class Looped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Conv2d(3, 4, 3)])

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.layers[0](x).mean((2, 3)))

    with pytest.raises(ConfigError, match=r"the teacher's 'layers' is never called by itself .*; name a layer within"):
        Listening(Looped(), ["layers"])(X)
    assert set(Listening(Looped(), ["layers.0"])(X)[1]) == {"layers.0"}


def test_the_outputs_that_a_shape_promises_are_those_of_its_net() -> None:
    dual = SHAPE.model_copy(update={"dual_head": 0.5})
    one = NetShape(stem_width=4, widths=((4, 4),), strides=(1,))
    for shape in (SHAPE, dual, one):
        assert outputs_of(shape) == set(known(net(shape=shape)))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Featured(net(), ["stage9"]), r"the student has no output 'stage9'; it has stem, block1, .*pooled"),
        (
            lambda: Listening(nn.Sequential(nn.ReLU()), ["layer1"]),
            r"the teacher has no output 'layer1'; it",
        ),
        (lambda: Listening(net(), ["layer1"]), r"the teacher has no output 'layer1'; it has stem"),
    ],
)
def test_an_output_that_is_not_there_is_named_with_those_that_are(make: object, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("loss", "shapes", "sentence"),
    [
        (HintLoss(name="hint", pairs=(("a", "b"),)), ((8, 4, 4), (16,)),
         r"hint: 'a' is \[B, 8, 4, 4\] and the teacher's 'b' \[B, 16\]; a hint needs both as maps"),
        (HintLoss(name="hint", pairs=(("a", "b"),)), ((8, 4, 4), (16, 8, 8)), r"a size that divides its own alone"),
        (AttentionLoss(name="attention", pairs=(("a", "b"),)), ((8, 4, 4), (16,)), r"attention compares maps"),
        (SquareHeadLoss(name="squarehead", pairs=(("a", "b"),)), ((8,), (16,)), r"take hint, whose projector learns"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_go_together_are_named_before_training(
    loss: LossSettings, shapes: tuple[tuple[int, ...], tuple[int, ...]], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Lesson([loss], 10, 3, {"a": shapes[0]}, {"b": shapes[1]})


FEATURED: dict[str, LossSettings] = {
    "hint": HintLoss(name="hint", pairs=(("stage1", "stage1"), ("pooled", "pooled"))),
    "attention": AttentionLoss(name="attention", pairs=(("stage2", "stage2"),)),
    "similarity": SimilarityLoss(name="similarity", pairs=(("stage1", "pooled"),)),
    "squarehead": SquareHeadLoss(name="squarehead", pairs=(("stem", "stem"), ("stage1", "stage1"))),
    "rkd": RkdLoss(name="rkd", pairs=(("pooled", "pooled"),)),
    "ckd": CkdLoss(name="ckd", pairs=(("pooled", "pooled"),), queue=16),
    "ofa-stages": OfaStagesLoss(name="ofa-stages", outputs=("stage1", "stage2")),
}


@pytest.mark.parametrize("name", FEATURED)
def test_a_loss_on_features_teaches_the_layers_that_it_names(name: str) -> None:
    """In the first step already: every layer up to the named outputs gets a gradient, and what is learnt along too."""
    loss, own = FEATURED[name], net().train()
    wide = NetShape(stem_width=12, widths=((12, 12), (24, 24)), strides=(1, 2)) if name != "squarehead" else SHAPE
    mine, theirs = asked_of([loss])
    teacher = Listening(net(1, wide).eval(), theirs)
    with torch.no_grad():
        heard = Said(*teacher(X))
    answer = Featured(own, mine)(X)
    said = Said(answer[0], dict(zip(mine, answer[1:], strict=True)))
    own_shapes, their_shapes = (
        {key: tuple(value.shape[1:]) for key, value in side.features.items()} for side in (said, heard)
    )
    lesson = Lesson([loss], 10, 3, own_shapes, their_shapes).train()
    value = lesson(said, heard, LABELS)
    value.sum().backward()
    assert value[0].item() == 0
    assert value[1].item() > 0
    stem: Tensor = own.stem[0].weight  # type: ignore[assignment]
    assert stem.grad is not None
    assert float(stem.grad.abs().sum()) > 0
    assert own.classifier.weight.grad is None
    for parameter in lesson.parameters():
        assert parameter.grad is not None


def test_a_student_that_teaches_itself_needs_no_teacher_and_trains_its_head() -> None:
    own, loss = net().train(), UskdLoss(name="uskd", outputs=("stage1",))
    answer = Featured(own, ["stage1"])(X)
    lesson = Lesson([loss], 10, 3, {"stage1": (8, 8, 8)}, {}).train()
    value = lesson(Said(answer[0], {"stage1": answer[1]}), None, LABELS)
    value.sum().backward()
    assert value[1].item() == 0
    assert value[0].item() > 0
    for parameter in (*own.parameters(), *lesson.parameters()):
        assert parameter.grad is not None
        assert float(parameter.grad.abs().sum()) > 0


def test_of_two_heads_labels_teach_one_and_the_teacher_the_other() -> None:
    own = net(shape=SHAPE.model_copy(update={"dual_head": 0.3})).train()
    losses = (KdLoss(name="kd"), CrossEntropyLoss(name="cross-entropy"))
    for only, silent, loud in ((0, own.classifier, own.taught), (1, own.taught, own.classifier)):
        own.zero_grad(set_to_none=True)
        answer = Featured(own, HEADS)(X)
        heads = dict(zip(HEADS, answer[1:], strict=True))
        Lesson([losses[only]], 10)(Said(answer[0], heads), Said(logits(2)), LABELS).sum().backward()
        assert silent.weight.grad is None
        assert loud.weight.grad is not None
        stem: Tensor = own.stem[0].weight  # type: ignore[assignment]
        assert stem.grad is not None
    own.eval()
    pooled = own.features(X).mean((2, 3))
    mixed = 0.3 * own.classifier(pooled).softmax(1) + 0.7 * own.taught(pooled).softmax(1)
    torch.testing.assert_close(own(X).softmax(1), mixed, atol=1e-6, rtol=1e-5)


def test_labels_and_teacher_are_told_apart_and_add_up_with_their_weights() -> None:
    losses = (KdLoss(name="kd", weight=0.5, temperature=2.0), CrossEntropyLoss(name="cross-entropy", weight=2.0))
    lesson = Lesson(losses, 10)
    own, theirs = logits(1), logits(2)
    labels, taught = lesson(Said(own), Said(theirs), LABELS).tolist()
    log = np.log(np.exp(own.numpy()) / np.exp(own.numpy()).sum(1, keepdims=True))
    assert labels == pytest.approx(-2 * log[np.arange(6), LABELS.numpy()].mean(), rel=1e-5)
    p, q = ((x / 2).softmax(1) for x in (theirs, own))
    assert taught == pytest.approx(0.5 * 4 * float((p * (p / q).log()).sum(1).mean()), rel=1e-5)


def test_a_weight_waits_grows_and_ends_where_it_is_told_to() -> None:
    loss = KdLoss(name="kd", weight=2.0, start=0.2, ramp=0.4, stop=0.8)
    seen = [loss.weight_at(done) for done in (0.0, 0.19, 0.2, 0.4, 0.6, 0.8, 0.81)]
    assert seen == pytest.approx([0, 0, 0, 1, 2, 2, 0])
    lesson = Lesson((KdLoss(name="kd", ramp=0.5, weight=1.0),), 4).train()
    own = logits(1).requires_grad_()
    values = [lesson(Said(own), Said(logits(2)), LABELS)[1].item() for _ in range(4)]
    assert values == pytest.approx([0, values[3] / 2, values[3], values[3]])


def test_taids_target_moves_on_at_every_step_and_is_the_teacher_at_the_end() -> None:
    steps, lesson = 50, Lesson((TaidLoss(name="taid"),), 50).train()
    (term,) = (part for part in lesson.modules() if isinstance(part, Taid))
    shares = []
    for step in range(steps):
        own = (logits(2) + (1 - step / steps) * logits(3)).requires_grad_()
        value = lesson(Said(own), Said(logits(2)), LABELS)[1]
        shares.append(float(term.share))
        assert math.isfinite(float(value))
    assert all(a <= b for a, b in pairwise(shares))
    assert shares[0] >= 0.4
    assert shares[-1] == pytest.approx(1.0)


def test_taid_is_its_transcription_at_any_share() -> None:
    """The target's gradient is none: the student's own part of it is a constant."""
    own, theirs = logits(2).double().requires_grad_(), logits(3).double()
    divergences.taid(own, theirs, 0.3).backward()

    def by_hand(x: NDArray[np.float64]) -> float:
        target = softmax(0.7 * logits(2).double().numpy() + 0.3 * theirs.numpy(), axis=1)
        return float((target * (np.log(target) - log_softmax(x, axis=1))).sum(1).mean())

    at = own.detach().numpy()
    assert float(divergences.taid(own.detach(), theirs, 0.3)) == pytest.approx(by_hand(at), rel=1e-6)
    step = np.zeros_like(at)
    step[1, 2] = 1e-5
    assert own.grad is not None
    assert float(own.grad[1, 2]) == pytest.approx((by_hand(at + step) - by_hand(at - step)) / 2e-5, rel=1e-5)


def test_taid_moves_by_its_formula() -> None:
    """Shing et al. (2025), equations 5 and 6, by hand: momentum of the relative fall, through a sigmoid."""
    term, share, fall = Taid(TaidLoss(name="taid", rate=0.1, momentum=0.9)), 0.4, 0.0
    for before, now in pairwise([2.0, 1.0, 1.5, 0.3]):
        term.before.fill_(before)
        term.move(now)
        fall = 0.9 * fall + 0.1 * (before - now) / before
        share += 0.1 / (1 + math.exp(-fall)) * (1 - share)
        assert float(term.share) == pytest.approx(share, rel=1e-9)


def test_taid_hurries_where_the_loss_falls() -> None:
    def after(values: list[float]) -> float:
        term = Taid(TaidLoss(name="taid", rate=0.1))
        for value in values:
            term.move(value)
        return float(term.share)

    assert after([1.0, 0.5, 0.2, 0.1]) > after([1.0, 1.0, 1.0, 1.0]) > 0.4


def test_a_lesson_comes_back_as_it_was() -> None:
    """Its queue, its schedule and its projectors are part of a training's snapshot."""
    losses = (FEATURED["ckd"], TaidLoss(name="taid"))
    shapes: dict[str, tuple[int, ...]] = {"pooled": (4,)}

    def say(lesson: Lesson, seed: int) -> Tensor:
        features = {"pooled": torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))}
        return lesson(Said(logits(seed).requires_grad_(), features), Said(logits(9), features), LABELS)  # type: ignore[no-any-return]

    first = Lesson(losses, 20, 3, shapes, shapes).train()
    for seed in range(5):
        say(first, seed)
    second = Lesson(losses, 20, 3, shapes, shapes, seed=7).train()
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(say(first, seed), say(second, seed)) for seed in (5, 6, 7))


def test_the_queue_of_other_embeddings_is_the_same_for_the_same_seed_and_rolls_over() -> None:
    shapes: dict[str, tuple[int, ...]] = {"pooled": (4,)}
    one, two, other = (Lesson((FEATURED["ckd"],), 20, 3, shapes, shapes, seed=seed) for seed in (1, 1, 2))
    queue = "terms.0.queue0"
    assert torch.equal(one.state_dict()[queue], two.state_dict()[queue])
    assert not torch.equal(one.state_dict()[queue], other.state_dict()[queue])
    features = {"pooled": torch.eye(4)[[0, 1, 2, 3, 0, 1]]}
    for _ in range(3):  # 18 embeddings into 16 places
        one.train()(Said(logits(0).requires_grad_(), features), Said(logits(1), features), LABELS)
    assert float((one.state_dict()[queue].abs().sum(1) - 1).abs().max()) < 1e-6


def test_info_nce_is_its_transcription() -> None:
    rng = np.random.default_rng(0)
    own, keys, others = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), rng.normal(size=(7, 3))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    unit = own / np.linalg.norm(own, axis=1, keepdims=True)
    positive, negative = np.exp((unit * keys).sum(1) / 0.1), np.exp(unit @ others.T / 0.1).sum(1)
    wanted = -np.log(positive / (positive + negative)).mean()
    made = info_nce(torch.from_numpy(own), torch.from_numpy(keys), torch.from_numpy(others), 0.1)
    assert float(made) == pytest.approx(wanted, rel=1e-9)


def test_ofa_on_stages_with_heads_that_give_the_students_logits_is_ofa_on_logits() -> None:
    loss = OfaStagesLoss(name="ofa-stages", outputs=("pooled",), exponent=1.4)
    lesson = Lesson((loss,), 10, 3, {"pooled": (3,)}, {})
    head: Any = lesson.terms["0"].heads[0]  # type: ignore[index]
    with torch.no_grad():  # relu(x) - relu(-x) = x
        head[0].weight.zero_()
        head[0].bias.zero_()
        head[2].weight.zero_()
        head[2].bias.zero_()
        for axis in range(3):
            for side, sign in ((0, 1.0), (3, -1.0)):
                head[0].weight[side + axis, axis] = sign
                head[2].weight[axis, side + axis] = sign
    own, theirs = logits(4), logits(5)
    staged = lesson(Said(own, {"pooled": own}), Said(theirs), LABELS)[1]
    plain = Lesson((OfaLoss(name="ofa", exponent=1.4),), 10)(Said(own), Said(theirs), LABELS)[1]
    assert float(staged) == pytest.approx(float(plain), rel=1e-5)


def test_cka_sees_neither_scale_nor_rotation_and_tells_unlike_from_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=generator)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
    assert linear_cka(x, 3 * x @ turn + 1) == pytest.approx(1.0, abs=1e-6)
    assert linear_cka(x, torch.randn(200, 6, generator=generator)) < 0.2
    table = alikeness({"a": x}, {"b": x @ turn, "c": torch.randn(200, 4, generator=generator)})
    assert table["a"]["b"] > 0.99 > 0.2 > table["a"]["c"]


def test_a_step_in_which_no_loss_counts_moves_nothing() -> None:
    own = logits(1).requires_grad_()
    lesson = Lesson((KdLoss(name="kd", ramp=0.5),), 10).train()
    value = lesson(Said(own), Said(logits(2)), LABELS).sum()
    value.backward()
    assert value.item() == 0
    assert own.grad is not None
    assert float(own.grad.abs().sum()) == 0


def test_a_queue_shorter_than_the_batch_holds_the_last_embeddings() -> None:
    shapes: dict[str, tuple[int, ...]] = {"pooled": (4,)}
    lesson = Lesson((CkdLoss(name="ckd", pairs=(("pooled", "pooled"),), queue=2),), 20, 3, shapes, shapes).train()
    features = {"pooled": torch.eye(4)[[0, 1, 2, 3, 0, 1]]}
    lesson(Said(logits(0).requires_grad_(), features), Said(logits(1), features), LABELS)
    assert torch.equal(lesson.state_dict()["terms.0.queue0"], torch.eye(4)[[0, 1]])
