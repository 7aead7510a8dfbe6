"""The shape of a net as settings: what a search chooses and a pipeline can state."""

from __future__ import annotations

from pydantic import Field, model_validator

from edgekd.settings import Settings

MODEL_TYPE = "edgekd_residual_cnn"  # in config.json


class NetShape(Settings):
    """Every layer's width of a residual CNN: one [inner, out] pair and one stride a block."""

    stem_width: int = Field(ge=1)
    stem_stride: int = Field(default=1, ge=1, le=4)
    widths: tuple[tuple[int, int], ...]
    strides: tuple[int, ...]
    dual_head: float | None = Field(default=None, ge=0, le=1)  # of two heads, the share of the one that labels teach

    @model_validator(mode="after")
    def _one_stride_a_block(self) -> NetShape:
        if len(self.widths) != len(self.strides):
            raise ValueError(f"{len(self.widths)} blocks in widths but {len(self.strides)} strides; one a block")
        return self


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


def parameters(shape: NetShape, in_channels: int = 3, classes: int = 10) -> int:
    """Of the net with this shape: weights, biases, and two of each batch norm's channels."""
    before = shape.stem_width
    count = 9 * in_channels * before + 2 * before
    for (inner, out), stride in zip(shape.widths, shape.strides, strict=True):
        count += 9 * before * inner + 2 * inner + 9 * inner * out + 2 * out
        if stride != 1 or before != out:
            count += before * out + 2 * out
        before = out
    return count + before * classes + classes
