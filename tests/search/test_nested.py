"""Sub-networks of a supernet: prefixes that are computed in it, trained in it and taken out of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.data.stages import Preprocess, Views
from edgekd.errors import ConfigError
from edgekd.models import checkpoint
from edgekd.models.residual_cnn import ResidualCnnForImageClassification
from edgekd.models.shape import NetShape, parameters
from edgekd.search.supernets.nested import answer, blocks_of, extract, name_in, sliced, sub_shapes, why_no_prefix
from edgekd.search.supernets.stages import Nested, TrainSupernet
from edgekd.search.supernets.subnets import estimate, some
from edgekd.search.supernets.train import loss, picked, raised
from edgekd.train.loop import Batch
from edgekd.train.losses.divergences import kd
from edgekd.train.settings import Training

WHOLE = NetShape(stem_width=8, widths=((8, 8), (8, 8), (12, 16), (16, 16)), strides=(1, 1, 2, 1))
NESTED = Nested(depths=(1, 2), width_shares=(0.5, 1.0), width_step=2)
SHAPES = sub_shapes(WHOLE, NESTED)
SMALL = NetShape(stem_width=4, widths=((4, 4), (6, 8)), strides=(1, 2))
X = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3


def supernet() -> ResidualCnnForImageClassification:
    """With statistics that are not those it was made with."""
    model = checkpoint.build(WHOLE, list("abc"), 1, seed=0)
    model.net.train()
    with torch.no_grad():
        model.net(X)
    model.eval()
    return model


def settings(**more: object) -> TrainSupernet:
    train = Training(epochs=1, batch=4, learning_rate=0.05, threads=1)
    asked = TrainSupernet(shape=WHOLE, nested=NESTED, train=train, preprocess=Preprocess(), views=Views())
    return asked.model_copy(update=more)


def test_sub_networks_are_all_prefixes_the_smallest_first_and_the_supernet_last() -> None:
    assert len(set(SHAPES)) == len(SHAPES) == 16  # two depths and two widths, in each of two stages
    assert (SHAPES[0], SHAPES[-1]) == (SMALL, WHOLE)
    assert [parameters(shape) for shape in SHAPES] == sorted(parameters(shape) for shape in SHAPES)
    assert all(why_no_prefix(shape, WHOLE) is None for shape in SHAPES)


def test_widths_are_multiples_of_the_step_and_never_none() -> None:
    shapes = sub_shapes(WHOLE, Nested(width_shares=(0.1, 0.4, 1.0), width_step=4))
    assert {shape.stem_width for shape in shapes} == {4, 8}
    assert {width for shape in shapes for pair in shape.widths for width in pair} == {4, 8, 12, 16}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"stem_stride": 2}, "stem_stride 2, not 1"),
        ({"dual_head": 0.5}, "dual_head 0.5, not None"),
        ({"stem_width": 10}, "a stem of 10 channels, more than 8"),
        ({"strides": (1, 1)}, "1 stages, not 2"),
        ({"strides": (2, 2)}, "block 1 has a stride of 2, not 1"),
        ({"widths": ((4, 4), (6, 20))}, "block 2 has 6 and 20 channels, more than 12 and 16"),
        ({"widths": ((4, 6), (6, 8))}, "block 1 has a projection, where the supernet's has none"),
        ({"widths": ((4, 4),) * 3 + ((6, 8),), "strides": (1, 1, 1, 2)}, "stage 1 has 3 blocks, more than 2"),
    ],
)
def test_what_is_no_prefix_says_why(change: dict[str, object], why: str) -> None:
    assert why in (why_no_prefix(SMALL.model_copy(update=change), WHOLE) or "")


def test_sub_networks_of_encoders_have_whole_heads_and_answer_as_in_the_supernet() -> None:
    whole = NetShape(stem_width=16, widths=((32, 16),), strides=(1,), kinds=("encoder",), head_width=8)
    supernet = checkpoint.build(whole, ["a", "b"], 3, seed=0).eval()
    x = torch.randn(2, 3, 8, 8)
    for shape in sub_shapes(whole, Nested(depths=(1,), width_shares=(0.25, 0.5, 1.0), width_step=4)):
        assert shape.widths[0][1] % 8 == 0
        torch.testing.assert_close(extract(supernet, shape)(x).logits, answer(supernet, shape, x))


def test_a_prefix_has_no_more_heads_than_its_supernet() -> None:
    whole = NetShape(stem_width=16, widths=((32, 16),), strides=(1,), kinds=("encoder",), head_width=8, heads=(3,))
    supernet = checkpoint.build(whole, ["a", "b"], 3, seed=0).eval()
    x = torch.randn(2, 3, 8, 8)
    fewer = whole.model_copy(update={"heads": (2,)})
    torch.testing.assert_close(extract(supernet, fewer)(x).logits, answer(supernet, fewer, x))
    more = whole.model_copy(update={"heads": (4,)})
    assert why_no_prefix(more, whole) == "block 1 has 4 heads, more than 3"


def test_a_net_that_lacks_its_supernets_projection_is_no_prefix_of_it() -> None:
    whole = WHOLE.model_copy(update={"stem_width": 4})
    assert why_no_prefix(SMALL, whole) == "block 1 has no projection, where the supernet's has one"
    assert all(shape.stem_width != shape.widths[0][1] for shape in sub_shapes(whole, NESTED))


@pytest.mark.parametrize("shape", SHAPES)
def test_an_extracted_net_answers_exactly_what_it_answers_in_the_supernet(shape: NetShape) -> None:
    model = supernet()
    with torch.no_grad():
        assert torch.equal(extract(model, shape).net(X), answer(model, shape, X))


def test_the_largest_sub_network_is_the_supernet() -> None:
    model = supernet()
    with torch.no_grad():
        assert torch.equal(answer(model, WHOLE, X), model.net(X))


def test_one_file_holds_all_and_what_is_computed_in_it_copies_no_weight() -> None:
    model = supernet()
    theirs = {parameter.untyped_storage().data_ptr() for parameter in model.net.parameters()}
    weights = [value for _, value in sliced(model, SMALL) if value.requires_grad]
    assert len(weights) == len(list(extract(model, SMALL).net.parameters()))
    assert {value.untyped_storage().data_ptr() for value in weights} <= theirs


def test_an_extracted_net_is_independent_of_the_supernet() -> None:
    model = supernet()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    own = extract(model, SMALL)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert own.config.id2label == model.config.id2label


@pytest.mark.parametrize("shape", [SMALL, SHAPES[7]])
def test_gradients_reach_exactly_the_entries_of_the_sub_network(shape: NetShape) -> None:
    """There they are those of the extracted net; all others get none."""
    model, own = supernet(), extract(supernet(), shape)
    for net in (model.net, own.net):
        net.train()
    F.cross_entropy(answer(model, shape, X), Y).backward()
    F.cross_entropy(own.net(X), Y).backward()
    reached = {name: name_in(blocks_of(shape, WHOLE), name) for name, _ in own.net.named_parameters()}
    for name, parameter in own.net.named_parameters():
        theirs = model.net.get_parameter(reached[name]).grad
        assert theirs is not None
        assert parameter.grad is not None
        corner = tuple(slice(0, size) for size in parameter.shape)
        torch.testing.assert_close(theirs[corner], parameter.grad)
        rest = theirs.clone()
        rest[corner] = 0
        assert not rest.any()
    others = {name for name, parameter in model.net.named_parameters() if parameter.grad is None}
    assert others == {name for name, _ in model.net.named_parameters()} - set(reached.values())


def test_training_a_sub_network_leaves_the_supernets_statistics_alone() -> None:
    model = supernet()
    model.net.train()
    before = {name: value.clone() for name, value in model.net.named_buffers()}
    answer(model, SMALL, X).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in model.net.named_buffers())


def test_estimating_batch_norms_anew_changes_their_statistics_and_nothing_else() -> None:
    net = extract(supernet(), SMALL).net
    before = {name: value.clone() for name, value in net.state_dict().items()}
    estimate(net, X.split(6))
    changed = {name for name, value in net.state_dict().items() if not torch.equal(before[name], value)}
    assert {name.rsplit(".", 1)[1] for name in changed} == {"running_mean", "running_var", "num_batches_tracked"}
    assert not net.training
    with torch.no_grad():
        stem = [net.stem[0](half) for half in X.split(6)]
    torch.testing.assert_close(net.stem[1].running_mean, torch.stack([y.mean((0, 2, 3)) for y in stem]).mean(0))
    torch.testing.assert_close(net.stem[1].running_var, torch.stack([y.var((0, 2, 3)) for y in stem]).mean(0))


def test_each_step_of_the_sandwich_has_the_largest_the_smallest_and_others() -> None:
    asked = settings(others=3, shrink_from=0.0)
    steps = [picked(SHAPES, asked, step, 40) for step in range(40)]
    assert all(nets[:2] == [WHOLE, SMALL] and len(nets) == 5 for nets in steps)
    assert len({shape for nets in steps for shape in nets[2:]}) == 16
    assert steps == [picked(SHAPES, asked, step, 40) for step in range(40)]
    assert steps != [
        picked(SHAPES, asked.model_copy(update={"train": asked.train.model_copy(update={"seed": 1})}), step, 40)
        for step in range(40)
    ]


def test_at_random_no_net_is_in_every_step() -> None:
    asked = settings(others=3, shrink_from=0.0, rule="random")
    steps = [picked(SHAPES, asked, step, 40) for step in range(40)]
    assert all(len(nets) == 3 for nets in steps)
    assert not any(all(shape in nets for nets in steps) for shape in SHAPES)


def test_the_largest_net_trains_alone_until_the_others_come_in_little_by_little() -> None:
    asked = settings(shrink_from=0.5, raised_over=0.2)
    assert all(picked(SHAPES, asked, step, 20) == [WHOLE] for step in range(10))
    assert all(len(picked(SHAPES, asked, step, 20)) == 4 for step in range(10, 20))
    assert [raised(asked, done) for done in (0.5, 0.6, 0.7, 0.9)] == pytest.approx([0, 0.5, 1, 1])
    assert raised(settings(shrink_from=0.0, raised_over=0.0), 0.0) == 1


def by_hand(model: ResidualCnnForImageClassification, said: Callable[[Tensor], Tensor] | None) -> Tensor:
    """The loss of the largest and the smallest net: a third of it what the teacher says, at temperature 2."""
    full, small = model.net(X), answer(model, SMALL, X)
    labels = [F.cross_entropy(logits, Y) for logits in (full, small)]
    if said is None:
        return labels[0] + 0.5 * (2 / 3 * labels[1] + kd(small, full.detach(), 2.0) / 3)
    taught = [kd(logits, said(X), 2.0) for logits in (full, small)]
    return 2 / 3 * (labels[0] + 0.5 * labels[1]) + (taught[0] + 0.5 * taught[1]) / 3


@pytest.mark.parametrize("given", [False, True])
def test_the_largest_net_or_a_given_teacher_teaches_the_smaller_ones(given: bool) -> None:
    said = torch.randn(12, 3, generator=torch.Generator().manual_seed(1)) if given else None
    asked = settings(taught=1 / 3, temperature=2.0, shrink_from=0.5, raised_over=0.2)
    models = [supernet(), supernet()]
    for model in models:
        model.net.train()
    loss(models[0], Batch(X, Y, said), [WHOLE, SMALL], asked, 0.6).backward()
    by_hand(models[1], None if said is None else lambda _: said).backward()
    for own, other in zip(models[0].net.parameters(), models[1].net.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)


def test_of_the_sub_networks_that_are_judged_the_ends_are_two() -> None:
    shown = some(SHAPES, 6, seed=0)
    assert (shown[0], shown[-1], len(set(shown))) == (SMALL, WHOLE, 6)
    assert shown == sorted(shown, key=SHAPES.index) == some(SHAPES, 6, seed=0)
    assert some(SHAPES, 99, seed=0) == list(SHAPES)


def test_a_shape_that_is_no_prefix_is_not_extracted() -> None:
    wide = SMALL.model_copy(update={"stem_width": 10})
    with pytest.raises(ConfigError, match=r"no prefix of the supernet: a stem of 10 channels, more than 8; take one"):
        extract(supernet(), wide)


def test_a_space_without_or_with_too_many_sub_networks_is_named() -> None:
    with pytest.raises(ConfigError, match=r"depths \(4,\) and shares \(1\.0,\) in steps of 8 leave no sub-network"):
        sub_shapes(WHOLE, Nested(depths=(4,), width_shares=(1.0,)))
    many = NetShape(stem_width=8, widths=((8, 8),) * 24, strides=(1, 1, 1, 2, 1, 1) * 4)
    with pytest.raises(ConfigError, match=r"nested: \d+ combinations of depths and widths are more than 50000; name"):
        sub_shapes(many, Nested(depths=(1, 2, 3)))


def test_a_supernet_is_trained_by_one_process() -> None:
    train = Training(epochs=1, learning_rate=0.05, threads=2, processes=2)
    with pytest.raises(ValueError, match=r"train\.processes: 2, one process trains a supernet; lower it"):
        TrainSupernet(shape=WHOLE, train=train, preprocess=Preprocess(), views=Views())


def test_blocks_of_every_kind_are_nested_too() -> None:
    whole = NetShape(
        stem_width=8, widths=((8, 8), (8, 8), (48, 16), (96, 16), (16, 16)), strides=(1, 1, 2, 1, 1),
        kinds=("plain", "skip", "inverted", "inverted", "residual"), kernels=(3, 5, 3, 3, 3),
    )  # fmt: skip
    model = checkpoint.build(whole, list("abc"), 1, seed=0).eval()
    shapes = sub_shapes(whole, Nested(depths=(1, 2), width_shares=(0.5, 1.0), width_step=2))
    assert {len(shape.kinds) for shape in shapes} == {2, 3, 4, 5}
    for shape in shapes:
        torch.testing.assert_close(extract(model, shape).net(X), answer(model, shape, X))


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"kinds": ("plain", "skip", "residual", "residual")}, "block 2 has a kind of skip, not residual"),
        ({"kernels": (3, 5, 3, 3)}, "block 2 has a kernel of 5, not 3"),
    ],
)
def test_a_block_of_another_kind_is_no_prefix(more: dict[str, object], why: str) -> None:
    widths = ((8, 8), (8, 8), (12, 16), (16, 16))
    whole = WHOLE.model_copy(update={"kinds": ("plain", *("residual",) * 3)})
    shape = NetShape.model_validate(
        {"stem_width": 8, "widths": widths, "strides": (1, 1, 2, 1), "kinds": whole.kinds} | more
    )
    assert why_no_prefix(shape, whole) == why
