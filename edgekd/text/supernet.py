"""
AutoDistil: one net that holds all sub-networks of a band, trained together; each is taken out without training, [17].

A sub-network is the leading heads, units and dimensions of its supernet, whose own come sorted by importance. Each
step trains the largest, the smallest and two that chance picks, their gradients added up (the sandwich rule of Yu and
Huang, "Universally slimmable networks", 2019), by the relations of the last layer, and here by the embedding as well:
AutoDistil fine-tunes for each task afterwards, and an embedding has to be one at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from edgekd.engine.events import Progress
from edgekd.search.supernets.train import Counter
from edgekd.text.bands import shapes
from edgekd.text.encoder import Encoder, States
from edgekd.text.folders import Model, build
from edgekd.text.lesson import Lesson
from edgekd.text.settings import TextSupernet
from edgekd.text.shape import EncoderShape
from edgekd.text.tokens import Tokens
from edgekd.text.train import adamw, batches_of, freeze, steps_of
from edgekd.text.truncate import Importance, evenly, truncated
from edgekd.train.loop import Batch, fit

BATCH = 64  # of texts that are held out
COUNTED = 32  # tokens of the text that multiply-accumulates are counted of


class Scored(NamedTuple):
    """A sub-network with its loss on held-out text, and what it costs, counted on the net that is taken out."""

    shape: EncoderShape
    loss: float
    parameters: int
    macs: int


def supernet_of(teacher: Model, told: TextSupernet, importance: Importance) -> tuple[Model, tuple[EncoderShape, ...]]:
    """The largest of a band, cut from the teacher with what matters most in front; and all of the band."""
    band = shapes(teacher.net.shape, told.band, told.values)
    whole = band[-1]
    kept = evenly(teacher.net.shape.layers, whole.layers)
    return truncated(teacher, whole, kept, importance, ranked=True), band


class Sandwich(nn.Module):
    """Any sub-network's states and embeddings, from the supernet's own weights."""

    def __init__(self, net: Encoder) -> None:
        super().__init__()
        self.net = net
        self._empty: dict[EncoderShape, _Asked] = {}

    def forward(self, shape: EncoderShape, ids: Tensor, mask: Tensor) -> tuple[States, Tensor]:
        if shape not in self._empty:
            with torch.device("meta"):
                self._empty[shape] = _Asked(Encoder(shape))
        weights = {f"net.{name}": value for name, value in sliced(self.net, shape).items()}
        found: tuple[States, Tensor] = functional_call(self._empty[shape], weights, (ids, mask))
        return found


class _Asked(nn.Module):
    def __init__(self, net: Encoder) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[States, Tensor]:
        states = self.net.states(ids, mask)
        return states, self.net.answer(states.pooled)


def sliced(net: Encoder, shape: EncoderShape) -> dict[str, Tensor]:
    """
    The weights of a sub-network as parts of its supernet's: what is learnt of one is learnt of the other.

    It runs layers from the first to the last, evenly spread. AutoDistil's code takes floor(i / (layers / of)), which
    leaves the last one out; there supernets begin from nothing, here from a teacher whose last layer makes embeddings.
    """
    hidden, wide = shape.hidden_size, shape.heads[0] * shape.head_size
    own = dict(net.named_parameters())
    found = {"words.weight": own["words.weight"][:, :hidden], "positions": own["positions"][:, :hidden]}
    if "project.weight" in own:
        found["project.weight"] = own["project.weight"][:, :hidden]
    found |= {f"norm.{part}": own[f"norm.{part}"][:hidden] for part in ("weight", "bias")}
    for mine, place in enumerate(evenly(net.shape.layers, shape.layers)):
        for name, value in _layer(own, f"layers.{place}", hidden, wide, shape.units[0]).items():
            found[f"layers.{mine}.{name}"] = value
    return found


def _layer(own: Mapping[str, Tensor], name: str, hidden: int, wide: int, units: int) -> dict[str, Tensor]:
    weight, bias = own[f"{name}.qkv.weight"], own[f"{name}.qkv.bias"]
    found = {
        "qkv.weight": weight.view(3, -1, weight.shape[1])[:, :wide, :hidden].reshape(3 * wide, hidden),
        "qkv.bias": bias.view(3, -1)[:, :wide].reshape(3 * wide),
        "attended.weight": own[f"{name}.attended.weight"][:hidden, :wide],
        "up.weight": own[f"{name}.up.weight"][:units, :hidden],
        "up.bias": own[f"{name}.up.bias"][:units],
        "down.weight": own[f"{name}.down.weight"][:hidden, :units],
    }
    for part in ("attended.bias", "down.bias", "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
        found[part] = own[f"{name}.{part}"][:hidden]
    return found


def train(
    supernet: Model, band: Sequence[EncoderShape], tokens: Tokens, targets: Tensor, told: TextSupernet, scratch: Path,
    progress: Progress, teacher: Model,
) -> None:  # fmt: skip
    """In place. A killed run goes on from the last snapshot in `scratch`. Raises ConfigError."""
    counter, sandwich = Counter(), Sandwich(supernet.net)
    lessons = {shape: lesson_of(told, shape, teacher, steps_of(tokens, told.train)) for shape in band}
    freeze(supernet.net, words=told.freeze_words)
    teacher.net.eval()

    def objective(batch: Batch) -> Tensor:
        ids, mask = tokens.read(batch.x)
        with torch.no_grad():
            theirs = teacher.net.states(ids, mask)
        total = torch.zeros(())
        for shape in picked(band, told, counter.next()):
            own, answer = sandwich(shape, ids, mask)
            total = total + lessons[shape](own, answer, targets[batch.x], mask, theirs)
        return total

    supernet.net.train()
    both = nn.ModuleDict({"net": supernet.net, "counter": counter})
    fit(both, batches_of(tokens, told.train.batch), len(tokens), objective, told.train, scratch, progress,
        optimizer=adamw)  # fmt: skip
    supernet.net.eval()


def picked(band: Sequence[EncoderShape], told: TextSupernet, step: int) -> list[EncoderShape]:
    """The largest, the smallest, and as many others; the same for the same seed and step."""
    generator = torch.Generator().manual_seed(told.train.seed * 1_000_003 + step)
    others = torch.randint(len(band), (told.others,), generator=generator).tolist()
    return [band[-1], band[0], *(band[number] for number in others)]


def lesson_of(told: TextSupernet, shape: EncoderShape, teacher: Model, steps: int) -> Lesson:
    return Lesson(told.losses, steps, shape, teacher.net.shape)


@torch.no_grad()
def score(
    supernet: Model, band: Sequence[EncoderShape], tokens: Tokens, targets: Tensor, told: TextSupernet, teacher: Model,
    progress: Progress,
) -> list[Scored]:  # fmt: skip
    """Every sub-network's loss on text that it was not trained on, and its cost; the smallest first."""
    parts = torch.arange(len(tokens)).split(BATCH)
    read = [tokens.read(rows) for rows in parts]
    theirs = [teacher.net.states(*one) for one in read]
    found = []
    for shape in progress.over(band, len(band), "sub-network"):
        net, lesson = extract(supernet, shape).net, lesson_of(told, shape, teacher, 1).eval()
        total = 0.0
        for rows, (ids, mask), taught in zip(parts, read, theirs, strict=True):
            states = net.states(ids, mask)
            value = lesson(states, net.answer(states.pooled), targets[rows], mask, taught)
            total += float(value) * len(rows)
        found.append(Scored(shape, total / len(tokens), *cost(net)))
    return found


def cost(net: Encoder, length: int = COUNTED) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of a text of so many tokens: counted on the net, by no formula."""
    ids = torch.zeros(1, length, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(ids, torch.ones_like(ids))
    return sum(p.numel() for p in net.parameters()), int(counter.get_total_flops()) // 2


@torch.no_grad()
def extract(supernet: Model, shape: EncoderShape) -> Model:
    """The sub-network as an encoder of its own, which answers as it did within the supernet."""
    model = build(shape, 0)
    model.net.load_state_dict({name: value.contiguous() for name, value in sliced(supernet.net, shape).items()})
    return model


def within(scored: Sequence[Scored], most: int, by: str = "macs") -> Scored | None:
    """The least loss among those whose cost, `macs` or `parameters`, is at most this; None where none is."""
    affordable = [one for one in scored if getattr(one, by) <= most]
    return min(affordable, key=lambda one: one.loss, default=None)
