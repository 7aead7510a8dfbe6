"""
Start a student from its teacher: whole blocks where it has fewer, their strongest channels where it is narrower.

Sanh et al., "DistilBERT" (2019), section 3, takes every other layer; [235]. The channels are those of the largest
weights, as Li et al., "Pruning filters for efficient convnets" (2017), section 3.1, rank them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.errors import ConfigError
from edgekd.models import checkpoint, foreign
from edgekd.models.blocks import Block
from edgekd.models.residual_cnn import ResidualCnn, ResidualCnnForImageClassification


class CannotStartError(ConfigError):
    """Nothing of the teacher fits the student, and why; who asked for no start in particular is told that alone."""

    def __init__(self, why: str) -> None:
        super().__init__(f"distill.start: teacher: {why}; leave it out")
        self.why = why


@dataclass(frozen=True)
class Taken:
    """Which of the teacher's blocks each of the student's is made of; None: none fits, its weights are fresh."""

    blocks: tuple[int | None, ...]
    of: int  # the teacher's blocks
    narrower: bool  # a part of the channels alone
    classifier: bool

    @property
    def sentence(self) -> str:
        named = ", ".join("fresh" if block is None else str(block + 1) for block in self.blocks)
        part = ", their strongest channels" if self.narrower else ""
        return f"the student starts from the teacher's blocks {named} of {self.of}{part}"

    def told(self) -> dict[str, Any]:
        return {"schema": 1, **asdict(self)}


def from_teacher(model: ResidualCnnForImageClassification, folder: Path) -> Taken:
    """Fill the model with what fits of the teacher in `folder`. Raises CannotStartError, and changes nothing then."""
    about = foreign.described(folder)
    if about is not None and about.kind == "pool":
        return from_teacher(model, folder / "0")
    if about is not None:
        raise CannotStartError("the teacher is no net of the student's family, whose blocks it could start from")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        return transplant(model.net, checkpoint.load(folder).net)
    except CannotStartError:
        model.load_state_dict(before)
        raise


@torch.no_grad()
def transplant(student: ResidualCnn, teacher: ResidualCnn) -> Taken:
    """In place. Stages are matched by their order; of each, blocks evenly spaced, the first one always."""
    blocks, theirs = _blocks(student), _blocks(teacher)
    if len(blocks) < len(student.blocks) or len(theirs) < len(teacher.blocks):
        raise CannotStartError("only nets whose blocks are all residual can start from each other")
    pairs = matched(blocks, theirs)
    trunk = _take_stem(student, teacher)
    taken: list[int | None] = []
    for block, number in zip(blocks, pairs, strict=True):
        source = theirs[number] if number is not None else None
        out = None if number is None else _channels(block.conv2.out_channels, _shared(teacher, number))
        fits = source is not None and trunk is not None and out is not None and _take(block, source, trunk, out)
        taken.append(number if fits else None)
        trunk = out
    whole = trunk is not None and student.classifier.out_features == teacher.classifier.out_features
    if whole and trunk is not None:
        student.classifier.weight.copy_(teacher.classifier.weight[:, trunk])
        student.classifier.bias.copy_(teacher.classifier.bias)
        if student.dual_head is not None:
            student.taught.load_state_dict(student.classifier.state_dict())
    if not any(number is not None for number in taken):
        raise CannotStartError("none of its blocks fits the student's")
    narrower = any(
        number is not None and block.conv2.weight.shape != theirs[number].conv2.weight.shape
        for block, number in zip(blocks, taken, strict=True)
    )
    return Taken(tuple(taken), len(theirs), narrower, whole)


def _take_stem(student: ResidualCnn, teacher: ResidualCnn) -> Tensor | None:
    """Which of the teacher's channels the student's stem makes now. Raises CannotStartError where it is none of it."""
    own: Any = student.stem
    stem: Any = teacher.stem
    apart = len(_blocks(teacher)[0].shortcut)  # else the first stage hands the stem's channels on
    kept = _channels(own[0].out_channels, [stem[0].weight] if apart else _shared(teacher, 0))
    if kept is None or own[0].stride != stem[0].stride or own[0].kernel_size != stem[0].kernel_size:
        raise CannotStartError(
            f"the student's stem ({_stem_words(own[0])}) is no part of the teacher's ({_stem_words(stem[0])})"
        )
    _copy(own[0], stem[0], kept, None)
    _norm(own[1], stem[1], kept)
    return kept


def _stem_words(conv: nn.Conv2d) -> str:
    return f"{conv.out_channels} channels, kernel {conv.kernel_size[0]}, stride {conv.stride[0]}"


def matched(student: list[Block], teacher: list[Block]) -> list[int | None]:
    """For each block of the student the number of the teacher's, None past the teacher's stages."""
    own, theirs = stages(student), stages(teacher)
    found: list[int | None] = []
    for place, stage in enumerate(own):
        if place >= len(theirs) or len(stage) > len(theirs[place]):
            found += [None] * len(stage)
            continue
        spots = torch.linspace(0, len(theirs[place]) - 1, len(stage)).round().int().tolist()
        found += [theirs[place][spot] for spot in spots]
    return found


def stages(blocks: list[Block]) -> list[list[int]]:
    """The numbers of the blocks; a stage ends where the next block has a stride."""
    found: list[list[int]] = [[]]
    for number, block in enumerate(blocks):
        if number and block.stride > 1:
            found.append([])
        found[-1].append(number)
    return found


def _shared(teacher: ResidualCnn, number: int) -> list[Tensor]:
    """The weights that make the channels which block `number` hands on: those of its stage, and the stem's if bare."""
    blocks, stem = _blocks(teacher), teacher.stem[0].weight
    stage = next(stage for stage in stages(blocks) if number in stage)
    made = [blocks[place].conv2.weight for place in stage]
    if isinstance(stem, Tensor) and not len(blocks[stage[0]].shortcut):
        made.insert(0, stem)
    return [weight for weight in made if len(weight) == len(blocks[number].conv2.weight)]


def _take(block: Block, source: Block, into: Tensor, out: Tensor) -> bool:
    """Fill a block with the channels `into` and `out` of another; False, and nothing done, where it cannot be."""
    inner = _channels(block.conv1.out_channels, [source.conv1.weight])
    bare = len(block.shortcut) == 0
    alike = block.stride == source.stride and block.conv1.kernel_size == source.conv1.kernel_size
    if inner is None or not alike or (bare and len(source.shortcut)):
        return False
    if bare and not torch.equal(into, out):
        return False
    _copy(block.conv1, source.conv1, inner, into)
    _norm(block.bn1, source.bn1, inner)
    _copy(block.conv2, source.conv2, out, inner)
    _norm(block.bn2, source.bn2, out)
    own: Any = block.shortcut
    theirs: Any = source.shortcut
    if not bare and len(theirs):
        _copy(own[0], theirs[0], out, into)
        _norm(own[1], theirs[1], out)
    elif not bare:  # the teacher passes its channels on as they are: so does a projection onto those that are kept
        own[0].weight.copy_((out[:, None] == into[None, :]).float()[:, :, None, None])
    return True


def _channels(width: int, weights: list[Tensor]) -> Tensor | None:
    """The `width` output channels with the largest weights over layers that share them, in order."""
    if width > len(weights[0]):
        return None
    strength = torch.stack([weight.flatten(1).abs().sum(1) for weight in weights])
    return strength.sum(0).topk(width).indices.sort().values


def _copy(conv: nn.Conv2d, source: nn.Conv2d, out: Tensor, into: Tensor | None) -> None:
    weight = source.weight[out]
    conv.weight.copy_(weight if into is None else weight[:, into])


def _norm(norm: nn.BatchNorm2d, source: nn.BatchNorm2d, kept: Tensor) -> None:
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(norm, name).copy_(getattr(source, name)[kept])


def _blocks(net: ResidualCnn) -> list[Block]:
    return [block for block in net.blocks if isinstance(block, Block)]
