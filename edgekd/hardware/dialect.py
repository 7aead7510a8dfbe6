"""The quantisation dialect of a runtime: what its integer kernels accept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekd.hardware.fingerprint import Cpu
from edgekd.settings import Settings

Activation = Literal["uint8-affine", "int8-affine", "int8-symmetric"]
# ONNX operators whose outputs stay float: CPUs run them in float, so that Q and DQ around them only cost
FLOAT_OPERATORS = (
    "Softmax",
    "LayerNormalization",
    "InstanceNormalization",
    "Gather",
    "Where",
    "CumSum",
    "TopK",
    "ArgMax",
)


class Dialect(Settings):
    """
    int8 weights are symmetric and per output channel in every dialect so far; what differs is the rest.

    One file does not serve two runtimes: ONNX Runtime on x86 fuses uint8 activations and leaves int8 ones in
    float, slower than fp32; TensorRT refuses any zero point but 0.
    """

    activation: Activation
    # weights within +-63: x86 without VNNI adds two u8 x s8 products in 16 bits, which +-127 overflows
    reduced_range: bool
    logits: Literal["float", "quantised"] = "float"  # a float output keeps classes apart that one step would join
    float_operators: tuple[str, ...] = FLOAT_OPERATORS
    # in nets with attention, what lies between matrix products: CPUs lose more to Q and DQ there than integers gain
    between_products: Literal["float", "quantised"] = "float"

    # below 8: as many levels, kept in int8; the runtimes here have no faster kernels for them
    weight_bits: int = Field(default=8, ge=2, le=8)
    activation_bits: int = Field(default=8, ge=2, le=8)

    @property
    def weight_max(self) -> int:
        bits = min(self.weight_bits, 7 if self.reduced_range else 8)
        return int(2 ** (bits - 1) - 1)

    @property
    def activation_limits(self) -> tuple[int, int]:
        """The least and the largest integer of an activation."""
        levels = 2**self.activation_bits
        return (0, levels - 1) if self.activation == "uint8-affine" else (-levels // 2, levels // 2 - 1)

    def __str__(self) -> str:
        bits = min(self.weight_bits, 7 if self.reduced_range else 8)
        weights = f", {bits}-bit weights" if bits < 8 else ""
        activations = f", {self.activation_bits}-bit activations" if self.activation_bits < 8 else ""
        return f"{self.activation}{weights}{activations}"


class DialectSpec(Settings):
    """A dialect as a profile states it; `auto` is settled by the CPU at hand."""

    activation: Activation
    reduced_range: bool | Literal["auto"] = "auto"
    logits: Literal["float", "quantised"] = "float"
    float_operators: tuple[str, ...] = FLOAT_OPERATORS
    between_products: Literal["float", "quantised"] = "float"

    def on(self, device: Cpu) -> Dialect:
        reduced = not device.has_int8_dot if self.reduced_range == "auto" else self.reduced_range
        return Dialect(
            activation=self.activation,
            reduced_range=reduced,
            logits=self.logits,
            float_operators=self.float_operators,
            between_products=self.between_products,
        )
