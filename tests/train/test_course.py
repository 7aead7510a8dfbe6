"""The course of a training: killed within an epoch, watched, stopped, averaged, its two gradients told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from edgekd.engine.events import Progress
from edgekd.train.average import Average
from edgekd.train.loop import Batch, fit
from edgekd.train.schedule import Dot, learning_rate
from edgekd.train.settings import Training
from edgekd.train.watch import Look, Watch, due, fallen

SETTINGS = Training(epochs=4, batch=16, learning_rate=0.05, threads=1, looks=0)


class Notes:
    """Keeps what was said, and dies at a step where that is wanted."""

    def __init__(self, die_at: int | None = None) -> None:
        self.sentences: list[str] = []
        self.steps: list[int] = []
        self.die_at = die_at

    def progressed(self, done: int, total: int, unit: str, **facts: float) -> None:
        self.steps.append(done)
        if done == self.die_at:
            raise KilledError

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def started(self, *_: object) -> None: ...
    def running(self, *_: object) -> None: ...
    def finished(self, *_: object) -> None: ...


class KilledError(Exception):
    pass


def batches(generator: torch.Generator) -> Iterator[Batch]:
    for _ in range(6):
        x = torch.randn(16, 8, generator=generator)
        yield Batch(x, (x.sum(1) > 0).long())


def net_of(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))


def run(
    folder: Path, settings: Training = SETTINGS, *, notes: Notes | None = None, net: nn.Module | None = None,
    right: Callable[[], tuple[int, int]] | None = None, parts: bool = False,
) -> tuple[nn.Module, Watch]:  # fmt: skip
    folder.mkdir(exist_ok=True)
    own = net if net is not None else net_of()
    own.train()

    def objective(batch: Batch) -> Tensor:
        logits = own(batch.x)
        labels = F.cross_entropy(logits, batch.labels)
        return torch.stack([labels, 0.1 * logits.square().mean()]) if parts else labels

    return own, fit(own, batches, 96, objective, settings, folder, Progress(notes or Notes()), right=right)


def same(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(one.state_dict()[name], value) for name, value in two.state_dict().items())


@pytest.mark.parametrize("change", [{}, {"distill_momentum": 0.05}, {"average": 0.9}, {"average_from": 0.5}])
@pytest.mark.parametrize("step", [4, 9, 20])
def test_a_run_killed_within_an_epoch_goes_on_from_its_last_snapshot_to_the_bit(
    tmp_path: Path, step: int, change: dict[str, float]
) -> None:
    """Dropout, momenta, averages and batch norms included."""
    settings = SETTINGS.model_copy(update={"snapshot_s": 1e-9, **change})
    whole, _ = run(tmp_path / "whole", settings, parts=True)
    with pytest.raises(KilledError):
        run(tmp_path / "killed", settings, notes=Notes(die_at=step), parts=True)
    notes = Notes()
    torch.manual_seed(99)
    resumed, _ = run(tmp_path / "killed", settings, notes=notes, parts=True)
    assert same(whole, resumed)
    assert min(notes.steps) == step  # the one that was under way
    assert any(sentence.startswith("resumed after epoch") for sentence in notes.sentences)


def test_without_a_snapshot_within_the_epoch_it_begins_at_the_last_whole_one(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        run(tmp_path / "a", notes=Notes(die_at=9))
    notes = Notes()
    run(tmp_path / "a", notes=notes)
    assert min(notes.steps) == 7


def test_it_stops_when_val_gets_no_better_and_keeps_the_best_weights(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 10, "looks": 10, "patience": 3})
    net, kept, shares = net_of(), [], iter([50, 60, 80, 70, 75, 79, 90, 90, 90, 90])

    def right() -> tuple[int, int]:
        kept.append({name: value.clone() for name, value in net.state_dict().items()})
        return next(shares), 100

    notes = Notes()
    _, watch = run(tmp_path, settings, net=net, notes=notes, right=right)
    assert [look.epoch for look in watch.looks] == [1, 2, 3, 4, 5, 6]
    assert all(torch.equal(net.state_dict()[name], value) for name, value in kept[2].items())
    assert notes.sentences[-1] == "stopped after 6 of 10 epochs: val was best after 3, whose weights are kept"


def test_a_killed_run_remembers_what_it_saw(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 6, "looks": 6, "patience": 2})
    values = [90, 80, 70, 60, 50, 40]
    seen: list[int] = []

    def right() -> tuple[int, int]:
        seen.append(values[len(seen)])
        return seen[-1], 100

    with pytest.raises(KilledError):
        run(tmp_path / "a", settings, notes=Notes(die_at=8), right=right)  # in the second epoch
    _, watch = run(tmp_path / "a", settings, right=right)
    assert [look.right for look in watch.looks] == [90, 80, 70]


def test_a_student_that_nears_its_teacher_and_leaves_the_truth_is_told_of_once(tmp_path: Path) -> None:
    watch = Watch(patience=0)
    for number, (loss, right) in enumerate([(1.0, 900), (0.8, 850), (0.6, 840), (0.4, 700)], 1):
        watch.add(Look(number, loss, right, 1000))
    assert watch.alarm is not None
    assert watch.alarm.startswith("the loss fell from 1 to 0.6 after epoch 1 while val fell from 90.0 % to 84.0 %")


@pytest.mark.parametrize(
    "looks",
    [
        [(1.0, 900), (0.8, 850), (0.6, 899)],  # one bad look
        [(1.0, 900), (1.2, 850), (1.4, 840)],  # the loss rises as well: it is no secret
        [(1.0, 900), (0.8, 895), (0.6, 890)],  # within chance
        [(1.0, 900), (0.8, 910), (0.6, 920)],
    ],
)
def test_no_alarm_without_two_looks_of_a_real_fall(looks: list[tuple[float, int]]) -> None:
    watch = Watch(patience=0)
    for number, (loss, right) in enumerate(looks, 1):
        watch.add(Look(number, loss, right, 1000))
    assert watch.alarm is None


def test_a_fall_is_one_beyond_two_standard_errors() -> None:
    assert not fallen(Look(1, 0.0, 900, 1000), Look(2, 0.0, 880, 1000))
    assert fallen(Look(1, 0.0, 900, 1000), Look(2, 0.0, 870, 1000))


@pytest.mark.parametrize(("epochs", "looks"), [(10, 10), (10, 3), (7, 10), (30, 4), (1, 5)])
def test_looks_are_spread_and_the_last_is_at_the_end(epochs: int, looks: int) -> None:
    found = [epoch for epoch in range(1, epochs + 1) if due(epoch, epochs, looks)]
    assert len(found) == min(epochs, looks)
    assert found[-1] == epochs


def test_looking_changes_nothing_of_what_is_trained(tmp_path: Path) -> None:
    looked = SETTINGS.model_copy(update={"looks": 4})
    net = net_of()

    def right() -> tuple[int, int]:
        net.eval()
        with torch.no_grad():
            net(torch.ones(4, 8))
        net.train()
        return 1, 2

    run(tmp_path / "a", looked, net=net, right=right)
    assert same(net, run(tmp_path / "b", looked)[0])


def test_the_mean_of_weights_is_over_the_ends_of_the_epochs_that_were_named(tmp_path: Path) -> None:
    linear = nn.Linear(8, 2)
    ends: list[Tensor] = []
    settings = SETTINGS.model_copy(update={"average_from": 0.5, "looks": 4})

    def right() -> tuple[int, int]:
        ends.append(linear.weight.detach().clone())
        return 1, 2

    run(tmp_path, settings, net=linear, right=right)
    torch.testing.assert_close(linear.weight.detach(), (ends[2] + ends[3]) / 2)


def test_batch_norms_are_of_the_mean_weights(tmp_path: Path) -> None:
    net, _ = run(tmp_path, SETTINGS.model_copy(update={"average_from": 0.5, "seed": 3}))
    first, norm = net[0], net[1]  # type: ignore[index]
    x = torch.cat([batch.x for batch in batches(torch.Generator().manual_seed(3))])
    assert isinstance(norm, nn.BatchNorm1d)
    torch.testing.assert_close(norm.running_mean, first(x).mean(0).detach(), atol=1e-5, rtol=1e-4)
    assert norm.momentum == 0.1


def test_a_plain_mean_is_one() -> None:
    layer = nn.Linear(1, 1, bias=False)
    average = Average(layer, None)
    for value in (1.0, 2.0, 6.0):
        nn.init.constant_(layer.weight, value)
        average.update()
    assert float(average.shadow[0]) == pytest.approx(3.0)


def by_hand(parameter: Tensor, own: list[Tensor], taught: list[Tensor]) -> Tensor:
    lr, momentum, delta = 0.1, 0.9, 0.05
    one = two = torch.zeros_like(parameter)
    for a, b in zip(own, taught, strict=True):
        one = (momentum - delta) * one + a
        two = (momentum + delta) * two + b
        parameter = parameter - lr * (a + (momentum - delta) * one) - lr * (b + (momentum + delta) * two)
    return parameter


def test_dot_moves_with_more_momentum_along_what_the_teacher_says() -> None:
    start = torch.tensor([[1.0, -2.0]])
    generator = torch.Generator().manual_seed(0)
    own, taught = ([torch.randn(1, 2, generator=generator) for _ in range(4)] for _ in range(2))
    parameter = nn.Parameter(start.clone())
    optimizer = Dot([{"params": [parameter], "weight_decay": 0.0}], 0.9, 0.05)
    optimizer.param_groups[0]["lr"] = 0.1
    for a, b in zip(own, taught, strict=True):
        parameter.grad, optimizer.taught = a, [b]
        optimizer.step()
    torch.testing.assert_close(parameter.detach(), by_hand(start, own, taught))


def test_dot_without_a_difference_is_sgd_on_the_sum() -> None:
    """To rounding; the setting 0 takes SGD itself, and so is it to the bit."""
    parameters = [nn.Parameter(torch.ones(3, 3)) for _ in range(2)]
    dot = Dot([{"params": [parameters[0]], "weight_decay": 0.01}], 0.9, 0.0)
    sgd = torch.optim.SGD([{"params": [parameters[1]], "weight_decay": 0.01}], lr=0.1, momentum=0.9, nesterov=True)
    dot.param_groups[0]["lr"] = 0.1
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        a, b = (torch.randn(3, 3, generator=generator) for _ in range(2))
        parameters[0].grad, dot.taught, parameters[1].grad = a.clone(), [b], a + b
        dot.step()
        sgd.step()
    torch.testing.assert_close(parameters[0], parameters[1])


def test_dot_clips_both_gradients_by_the_norm_of_the_two(tmp_path: Path) -> None:
    net = nn.Linear(8, 2)
    before = net.weight.detach().clone()
    settings = SETTINGS.model_copy(
        update={"epochs": 1, "distill_momentum": 0.05, "clip_norm": 1e-9, "weight_decay": 0.0}
    )
    run(tmp_path, settings, net=net, parts=True)
    assert (net.weight - before).abs().max().item() < 1e-8


def test_one_cycle_falls_along_a_line() -> None:
    settings = SETTINGS.model_copy(update={"schedule": "one-cycle", "warmup": 0.2})
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    assert rates[20] == pytest.approx(0.05)
    assert rates[60] == pytest.approx(0.025)
    assert rates[99] == pytest.approx(0.05 / 80)


def test_bfloat16_trains_and_keeps_weights_in_32_bits(tmp_path: Path) -> None:
    exact, _ = run(tmp_path / "a")
    rough, _ = run(tmp_path / "b", SETTINGS.model_copy(update={"precision": "bfloat16"}))
    assert all(value.dtype == torch.float32 for value in rough.state_dict().values() if value.is_floating_point())
    assert not same(exact, rough)
    first = [net.state_dict()["0.weight"] for net in (exact, rough)]
    torch.testing.assert_close(first[0], first[1], atol=0.05, rtol=0.1)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"distill_momentum": 0.1}, "momentum 0.9 and distill_momentum 0.1 make 1 or more"),
        ({"average": 0.9, "average_from": 0.5}, "two ways to average weights; leave one out"),
        ({"patience": 2, "looks": 0}, "patience counts looks at val, and looks is 0"),
        ({"patience": 2, "average": 0.9}, "patience keeps the weights of the best look, not their average"),
    ],
)
def test_settings_that_would_not_do_what_they_say_are_refused(change: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Training.model_validate({"epochs": 2, **change})


def test_a_run_killed_between_looks_reports_the_same_losses(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"looks": 2})
    _, whole = run(tmp_path / "a", settings, right=lambda: (1, 2))
    with pytest.raises(KilledError):
        run(tmp_path / "b", settings, right=lambda: (1, 2), notes=Notes(die_at=8))  # after one of two epochs
    _, resumed = run(tmp_path / "b", settings, right=lambda: (1, 2))
    assert resumed.looks == whole.looks
    assert resumed.kept == 4
