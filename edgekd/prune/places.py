"""What of a net can go, from its shape alone: units inside of blocks, heads, and what a whole stage hands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edgekd.models.shape import BlockShape, NetShape

STEM = -1  # in place of a block's number


class Units(NamedTuple):
    """
    Units that go together wherever they are, by the paths of the net's layers: `made` and `norms` have their channels
    as outputs, `readers` as inputs, and nothing else does. A unit is `width` channels.
    """

    name: str  # of the place: a block's number, "heads 3", "stream 1"
    size: int
    made: tuple[str, ...]
    norms: tuple[str, ...]
    readers: tuple[str, ...]
    width: int = 1
    block: int | None = None  # None: more than one
    last: str | None = None  # the batch norm behind the reader, of a block that may go as a whole

    @property
    def may_vanish(self) -> bool:
        return self.last is not None


@dataclass
class _Stream:
    """What one block hands on and the next ones add to: layers as they are met."""

    size: int
    made: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)  # blocks whose output it is
    whole: bool = False  # it has to stay as it is

    def writes(self, number: int, *layers: tuple[str, str]) -> None:
        for made, norm in layers:
            self.made.append(made)
            self.norms.append(norm)
        self.outputs.append(number)


def units_of(shape: NetShape, *, streams: bool = False) -> list[Units]:
    """Inside of blocks; with `streams` also what stages hand on."""
    found, positive = [], True  # what a block reads: the stem ends in a ReLU
    for number, block in enumerate(shape.blocks):
        found += list(_inside(number, block, positive=positive))
        positive = block.kind in ("residual", "plain") or (block.kind == "skip" and positive)
    if streams:
        found += [
            Units(f"stream {number}", each.size, tuple(each.made), tuple(each.norms), tuple(each.readers))
            for number, each in enumerate(streams_of(shape))
            if not each.whole
        ]
    return found


def _inside(number: int, block: BlockShape, *, positive: bool) -> Iterator[Units]:
    """Without its branch a block hands on what it reads; a residual one ends in a ReLU, which must change nothing."""

    def own(*names: str) -> tuple[str, ...]:
        return tuple(f"blocks.{number}.{name}" for name in names)

    def last(name: str) -> str:
        return f"blocks.{number}.{name}"

    if block.kind == "residual":
        vanishes = last("bn2") if not block.projects and positive else None
        yield Units(str(number), block.inner, own("conv1"), own("bn1"), own("conv2"), block=number, last=vanishes)
    elif block.kind == "inverted" and block.inner != block.width_in:
        made, norms = own("expand.0", "depthwise.0"), own("expand.1", "depthwise.1")
        vanishes = last("project.1") if block.adds else None
        yield Units(str(number), block.inner, made, norms, own("project.0"), block=number, last=vanishes)
    elif block.kind == "encoder":
        yield Units(str(number), block.inner, own("mlp.0"), own("mlp.1"), own("mlp.3"), block=number)
        if block.heads > 1:
            made, norms = (own(*(f"{name}.{part}" for name in ("query", "key", "value"))) for part in (0, 1))
            yield Units(f"heads {number}", block.heads, made, norms, own("join.0"), block.head_width, number)


def streams_of(shape: NetShape) -> list[_Stream]:
    """
    From the stem on: a stream ends where a convolution reads it and nothing is added to it. One that an inverted block
    reads stays whole, and so do both sides of a block that would be another one if they were equally wide.
    """
    stream = _Stream(shape.stem_width)
    stream.writes(STEM, ("stem.0", "stem.1"))
    found = [stream]
    for number, block in enumerate(shape.blocks):
        before, start = stream, f"blocks.{number}."
        if not block.adds or (block.kind == "residual" and block.projects):
            stream = _Stream(block.out)
            found.append(stream)
            before.whole |= block.stride == 1 and block.kind != "plain"
            stream.whole |= block.stride == 1 and block.kind != "plain"
        if block.kind == "inverted":
            before.whole = True
        for name in READS[block.kind]:
            before.readers.append(start + name)
        writes = [*WRITES[block.kind], *([("shortcut.0", "shortcut.1")] if block.projects else [])]
        before.readers += [start + "shortcut.0"] if block.projects else []
        stream.writes(number, *((start + made, start + norm) for made, norm in writes))
    stream.readers += ["classifier", *(["taught"] if shape.dual_head is not None else [])]
    return found


READS: Mapping[str, tuple[str, ...]] = {
    "residual": ("conv1",), "plain": ("conv",), "skip": ("conv",), "inverted": ("expand.0",),
    "encoder": ("query.0", "key.0", "value.0", "mlp.0"),
}  # fmt: skip
WRITES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "residual": (("conv2", "bn2"),), "plain": (("conv", "bn"),), "skip": (("conv", "bn"),),
    "inverted": (("project.0", "project.1"),),
    "encoder": (("position.0", "position.1"), ("join.0", "join.1"), ("mlp.3", "mlp.4")),
}  # fmt: skip


def rungs(units: Units, step: int, shape: NetShape) -> list[int]:
    """How many units may stay: all, fewer by whole steps, and none where the block may go. Heads go one by one."""
    step = 1 if units.width > 1 else step
    fewer = list(range(step * ((units.size - 1) // step), 0, -step))
    if units.block is not None and shape.blocks[units.block].kind == "inverted":
        before = shape.blocks[units.block].width_in
        fewer = [kept for kept in fewer if kept != before]  # so wide a block has no first convolution
    return [units.size, *fewer, *([0] if units.may_vanish else [])]


def narrowed(shape: NetShape, kept: Mapping[str, int]) -> NetShape:
    """The shape with so many units in these places; blocks with none are gone."""
    width = {
        number: kept.get(f"stream {place}", stream.size)
        for place, stream in enumerate(streams_of(shape))
        for number in stream.outputs
    }
    blocks = [(number, block) for number, block in enumerate(shape.blocks) if kept.get(str(number), block.inner)]
    pairs, heads = [], []
    for number, block in blocks:
        out = width[number]
        inner = out if block.kind in ("plain", "skip") else kept.get(str(number), block.inner)
        pairs.append((inner, out))
        heads.append(kept.get(f"heads {number}", block.heads))
    usual = [block.kind != "encoder" or count * shape.head_width == out
             for (_, block), count, (_, out) in zip(blocks, heads, pairs, strict=True)]  # fmt: skip

    def of(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(values[number] for number, _ in blocks) if values else ()

    return shape.model_copy(
        update={
            "stem_width": width[STEM], "widths": tuple(pairs), "strides": of(shape.strides), "kinds": of(shape.kinds),
            "kernels": of(shape.kernels), "heads": () if all(usual) and not shape.heads else tuple(heads),
        }
    )  # fmt: skip
