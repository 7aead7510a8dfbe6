"""What a pipeline says of sparsity; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from edgekd.settings import Settings

Importance = Literal["magnitude", "taylor", "activation", "obs"]


class Sparsity(Settings):
    """
    Zeros in the weights of convolutions and linear layers: `n:m` of each group of consecutive input channels, or a
    share of them, one by one or in blocks. They come during the float phase, between two shares of its steps; from then
    on they stay, through QAT and into the file.
    """

    nm: str | None = Field(default=None, pattern=r"^[1-9]\d?:[1-9]\d?$")  # kept of each group: 2:4, 1:4, 4:8
    unstructured: float | None = Field(default=None, gt=0, lt=1)  # share of zeros
    block: tuple[int, int] = (1, 1)  # output and input channels that are zero together
    scope: Literal["layer", "global"] = "layer"  # global: the least important of all layers go
    importance: Importance = "magnitude"
    refine: Literal["none", "dsnot"] = "none"  # weights of an output exchanged where that changes its mean less
    schedule: Literal["cubic", "one-shot", "rewind"] = "cubic"  # one-shot: all at `begin`; rewind: round by round
    rounds: int = Field(default=3, ge=1)  # of rewinding: a first training, and one after each time that weights go
    rewinds: Literal["rate", "weights"] = "rate"  # weights: these too, to where `begin` left them
    begin: float = Field(default=0.2, ge=0, le=1)
    end: float = Field(default=0.6, ge=0, le=1)
    every: int = Field(default=20, ge=1)  # steps between two choices of what is zero
    sr_ste: float = Field(default=0.0, ge=0)  # of N:M: what is zero learns on behind its mask; how fast it fades

    @model_validator(mode="after")
    def _says_one_thing(self) -> Sparsity:
        if (self.nm is None) == (self.unstructured is None):
            raise ValueError('sparsity: give one of nm ("2:4") and unstructured (0.75)')
        if self.nm is not None:
            kept, group = self.group
            if kept >= group:
                raise ValueError(f'sparsity.nm: "{self.nm}" keeps all; the first number is to be the smaller one')
            if self.block != (1, 1) or self.scope == "global":
                raise ValueError("sparsity.nm: block and scope are of unstructured sparsity; leave them out")
        if self.sr_ste and self.nm is None:
            raise ValueError("sparsity.sr_ste: is of n:m sparsity; leave it out")
        if min(self.block) < 1:
            raise ValueError(f"sparsity.block: {self.block} has a side below 1")
        if self.learns_from_steps and self.begin == 0 and (self.schedule == "one-shot" or self.end == 0):
            what = "dsnot" if self.importance == "magnitude" else self.importance
            raise ValueError(f"sparsity: {what} has seen nothing of the training at step 0; raise begin")
        if self.refine == "dsnot" and (self.nm is not None or self.block != (1, 1)):
            raise ValueError("sparsity.refine: dsnot exchanges single weights of unstructured sparsity; leave it out")
        if self.schedule == "rewind" and self.sr_ste:
            raise ValueError("sparsity.sr_ste: what learns on behind its mask is not rewound; take another schedule")
        if self.schedule == "rewind" and self.rewinds == "weights" and self.begin * (self.rounds + 1) >= 1:
            raise ValueError(
                f"sparsity.begin: {self.begin:g} of the steps is not within the first of {self.rounds + 1} trainings, "
                "whose weights come back; lower it"
            )
        if self.end < self.begin:
            raise ValueError(f"sparsity.end: {self.end:g} lies before begin, {self.begin:g}")
        return self

    @property
    def group(self) -> tuple[int, int]:
        """N and m; of unstructured sparsity (1, 1)."""
        if self.nm is None:
            return 1, 1
        kept, group = self.nm.split(":")
        return int(kept), int(group)

    @property
    def share(self) -> float:
        """Of zeros in the end."""
        if self.unstructured is not None:
            return self.unstructured
        kept, group = self.group
        return 1 - kept / group

    @property
    def complete(self) -> float:
        """The share of the steps after which all zeros are there."""
        return self.rounds / (self.rounds + 1) if self.schedule == "rewind" else self.end

    @property
    def learns_from_steps(self) -> bool:
        """Whether a choice needs what steps of the training have shown."""
        return self.importance != "magnitude" or self.refine != "none"

    @property
    def reads_inputs(self) -> bool:
        return self.importance in ("activation", "obs") or self.refine != "none"

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether the weights [O, I, ...] are whole groups and blocks."""
        return not (shape[1] % self.group[1] or shape[0] % self.block[0] or shape[1] % self.block[1])

    def __str__(self) -> str:
        if self.nm is not None:
            return self.nm
        size = "" if self.block == (1, 1) else f" in blocks of {self.block[0]} x {self.block[1]}"
        return f"{100 * self.share:g} % zeros{size}"


def _short(value: Any) -> Any:
    """`none` and "2:4" as a person writes them; a block's list as the tuple that it is here."""
    if value == "none":
        return None
    if isinstance(value, dict) and isinstance(value.get("block"), list):
        return value | {"block": tuple(value["block"])}
    return {"nm": value} if isinstance(value, str) else value


MaybeSparse = Annotated[Sparsity | None, BeforeValidator(_short, json_schema_input_type=Sparsity | str | None)]
