"""What an encoder is made of, said layer by layer: data, without torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from edgekd.settings import Settings

MODEL_TYPE = "edgekd-encoder"

Activation = Literal["gelu", "relu"]
Pooling = Literal["mean", "cls"]


class EncoderShape(Settings):
    """
    `heads` and `units` name each layer's attention heads, of `head_size` each, and its MLP units.

    Without layers it is a static embedding: the mean of token vectors. `share` neighbouring layers use the same
    weights. An `embedding_size` below `hidden_size` factorises the table; an `output_size` other than `hidden_size`
    ends in a projection, so that a narrow student can speak its teacher's language. Without positions
    (`max_positions` 0) the order of tokens says nothing.
    """

    vocab_size: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    embedding_size: int = Field(ge=1)
    output_size: int = Field(ge=1)
    head_size: int = Field(default=32, ge=1)
    heads: tuple[int, ...] = ()
    units: tuple[int, ...] = ()
    share: int = Field(default=1, ge=1)
    max_positions: int = Field(default=512, ge=0)
    activation: Activation = "gelu"
    norm_eps: float = Field(default=1e-12, gt=0)
    pooling: Pooling = "mean"
    pooler: bool = False  # a dense layer and tanh before the classes, as BERT has it
    normalize: bool = True  # embeddings to length 1; logits never

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if len(self.heads) != len(self.units):
            raise ValueError(f"heads names {len(self.heads)} layers and units {len(self.units)}; each layer needs both")
        if any(number < 1 for number in (*self.heads, *self.units)):
            raise ValueError("heads and units: each layer needs at least one head and one unit; leave the layer out")
        if self.embedding_size > self.hidden_size:
            raise ValueError(f"embedding_size {self.embedding_size} is more than hidden_size {self.hidden_size}")
        for start in range(0, len(self.heads), self.share):
            group = slice(start, start + self.share)
            if len({*zip(self.heads[group], self.units[group], strict=True)}) > 1:
                raise ValueError(f"share: layers {start + 1} to {start + self.share} share weights and differ in shape")
        if self.max_positions == 0 and self.layers:
            raise ValueError("max_positions 0: attention without positions reads a bag of words; give some")
        return self

    @property
    def layers(self) -> int:
        return len(self.heads)

    def static(self) -> EncoderShape:
        """The mean of token vectors: what is left without layers, and without positions."""
        return self.model_copy(update={"heads": (), "units": (), "max_positions": 0})

    @property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """Heads and units of each layer that has weights of its own."""
        return tuple(zip(self.heads, self.units, strict=True))[:: self.share]
