"""The shape of a net as settings: what a search chooses and a pipeline can state."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from edgekd.settings import Settings

MODEL_TYPE = "edgekd_residual_cnn"  # in config.json
FOREIGN = "teacher.json"  # beside a checkpoint that is not of edgekd's own family

Width = Annotated[int, Field(ge=1)]
BlockKind = Literal["residual", "plain", "skip", "inverted", "encoder"]


class BlockShape(NamedTuple):
    """
    `width_in` is what the layer before hands on; `inner` the first convolution's width, the expanded one, or that of an
    encoder's two last ones; `kernel` of an encoder is that of its positions. `heads` are an encoder's alone.
    """

    kind: BlockKind
    width_in: int
    inner: int
    out: int
    stride: int
    kernel: int
    head_width: int
    heads: int = 0

    @property
    def attends(self) -> int:
        """Channels of an encoder's queries, and of its keys and values."""
        return self.heads * self.head_width

    @property
    def projects(self) -> bool:
        """Whether a residual block's shortcut is a 1 x 1 convolution."""
        return self.kind == "residual" and (self.stride != 1 or self.width_in != self.out)

    @property
    def adds(self) -> bool:
        if self.kind == "inverted":
            return self.stride == 1 and self.width_in == self.out
        return self.kind != "plain"


class NetShape(Settings):
    """
    Every layer's width of a CNN: one [inner, out] pair and one stride a block.

    `kinds` and `kernels` say of each block what it is; left out, they are all residual ones of 3 x 3. A plain or skip
    block is one convolution, whose `inner` is its `out`; an encoder has as many heads of attention as `heads` says, or
    `out` / `head_width`. A stem of kernel 6 and stride 2 is what others write as space-to-depth and a 3 x 3
    convolution: the same sums, in one layer.
    """

    stem_width: int = Field(ge=1)
    stem_stride: int = Field(default=1, ge=1, le=4)
    stem_kernel: int = Field(default=3, ge=1, le=8)
    widths: tuple[tuple[Width, Width], ...]
    strides: tuple[Width, ...]
    kinds: tuple[BlockKind, ...] = ()
    kernels: tuple[Literal[3, 5, 7], ...] = ()
    head_width: int = Field(default=32, ge=1)  # channels of a head
    heads: tuple[Annotated[int, Field(ge=0)], ...] = ()  # one number a block, 0 of those without attention
    dual_head: float | None = Field(default=None, ge=0, le=1)  # of two heads, the share of the one that labels teach

    @model_validator(mode="after")
    def _one_stride_a_block(self) -> NetShape:
        if len(self.widths) != len(self.strides):
            raise ValueError(f"{len(self.widths)} blocks in widths but {len(self.strides)} strides; one a block")
        return self

    @model_validator(mode="after")
    def _every_block_can_be_built(self) -> NetShape:
        for name in ("kinds", "kernels", "heads"):
            if (said := len(getattr(self, name))) not in (0, len(self.widths)):
                raise ValueError(f"{len(self.widths)} blocks in widths but {said} {name}; one a block, or none at all")
        for number, block in enumerate(self.blocks, 1):
            if block.kind in ("plain", "skip") and block.inner != block.out:
                raise ValueError(
                    f"block {number} is {block.kind}, one convolution, but widths say {block.inner} and {block.out}; "
                    "give the same twice"
                )
            if block.kind in ("skip", "encoder") and (block.stride != 1 or block.width_in != block.out):
                raise ValueError(
                    f"block {number} is {block.kind}, which adds its input, of {block.width_in} channels, to "
                    f"{block.out} at stride {block.stride}; give it the same width and stride 1, or make it plain"
                )
            if block.kind == "encoder" and not self.heads and block.out % self.head_width:
                raise ValueError(
                    f"block {number} is an encoder of {block.out} channels, no multiple of head_width "
                    f"{self.head_width}; give it whole heads, or say how many it has in heads"
                )
            if self.heads and (block.heads > 0) != (block.kind == "encoder"):
                raise ValueError(
                    f"block {number} is {block.kind} of {block.heads} heads; encoders have one at least, others none"
                )
        return self

    @property
    def blocks(self) -> tuple[BlockShape, ...]:
        return tuple(self._blocks())

    def _blocks(self) -> Iterator[BlockShape]:
        before = self.stem_width
        usual: BlockKind = "residual"
        kinds = self.kinds or (usual,) * len(self.widths)
        kernels = self.kernels or (3,) * len(self.widths)
        rows = zip(kinds, self.widths, self.strides, kernels, strict=True)
        for number, (kind, (inner, out), stride, kernel) in enumerate(rows):
            usual_heads = out // self.head_width if kind == "encoder" else 0
            heads = self.heads[number] if self.heads else usual_heads
            yield BlockShape(kind, before, inner, out, stride, kernel, self.head_width, heads)
            before = out


def shape_of(tree: Mapping[str, Any]) -> NetShape:
    """The shape that JSON holds: its lists are tuples again."""
    return NetShape.model_validate_json(json.dumps(tree))


def outputs_of(shape: NetShape) -> frozenset[str]:
    """The names that losses may give to what such a net says on its way: see models.features."""
    stages = 1 + sum(stride > 1 for stride in shape.strides[1:])
    heads = () if shape.dual_head is None else ("label_head", "taught_head")
    blocks, parts = range(1, len(shape.widths) + 1), range(1, stages + 1)
    return frozenset(("stem", *(f"block{n}" for n in blocks), *(f"stage{n}" for n in parts), "pooled", *heads))


def resnet(depth: int) -> NetShape:
    """
    The net for 32 x 32 images of He et al., "Deep residual learning for image recognition" (2015), section 4.2: 6 n + 2
    layers in three stages of 16, 32 and 64 channels. Its shortcuts are projections. Raises ValueError.
    """
    blocks, odd = divmod(depth - 2, 6)
    if odd or blocks < 1:
        raise ValueError(f"resnet{depth}: has 6 n + 2 layers: resnet8, resnet14, resnet20, resnet32, resnet56")
    widths = [width for width in (16, 32, 64) for _ in range(blocks)]
    strides = [stride for first in (1, 2, 2) for stride in (first, *[1] * (blocks - 1))]
    return NetShape(stem_width=16, widths=tuple((width, width) for width in widths), strides=tuple(strides))


def padding(kernel: int, stride: int) -> int:
    """Pixels on either side of an image; none where an even kernel cuts it into patches, which then hold all of it."""
    return 0 if kernel == stride and kernel % 2 == 0 else (kernel - 1) // 2


def side_after(side: int, kernel: int, stride: int) -> int:
    """Of an image behind a convolution of edgekd's nets."""
    return (side + 2 * padding(kernel, stride) - kernel) // stride + 1


def parameters(shape: NetShape, in_channels: int = 3, classes: int = 10) -> int:
    """Of the net with this shape: weights, biases, and two of each batch norm's channels."""
    count = shape.stem_kernel**2 * in_channels * shape.stem_width + 2 * shape.stem_width
    for block in shape.blocks:
        count += sum(out * (each + 2) for each, out in _layers(block))
    return count + (shape.blocks[-1].out if shape.blocks else shape.stem_width) * classes + classes


def _layers(block: BlockShape) -> Iterator[tuple[int, int]]:
    """Of each convolution the weights of one output channel, and the output channels."""
    area = block.kernel**2
    if block.kind == "encoder":
        yield from [(area, block.out), *[(block.out, block.attends)] * 3, (block.attends, block.out)]
        yield from [(block.out, block.inner), (block.inner, block.out)]
        return
    if block.kind == "inverted":
        if block.inner != block.width_in:
            yield block.width_in, block.inner
        yield area, block.inner
        yield block.inner, block.out
        return
    yield area * block.width_in, block.inner
    if block.kind == "residual":
        yield area * block.inner, block.out
        if block.projects:
            yield block.width_in, block.out
