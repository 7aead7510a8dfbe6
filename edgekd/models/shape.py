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

    @model_validator(mode="after")
    def _one_stride_a_block(self) -> NetShape:
        if len(self.widths) != len(self.strides):
            raise ValueError(f"{len(self.widths)} blocks in widths but {len(self.strides)} strides; one a block")
        return self
