"""The quantisation dialect of a runtime: what its integer kernels accept."""

from __future__ import annotations

from typing import Literal

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

    @property
    def weight_max(self) -> int:
        return 63 if self.reduced_range else 127

    def __str__(self) -> str:
        return f"{self.activation}{', 7-bit weights' if self.reduced_range else ''}"


class DialectSpec(Settings):
    """A dialect as a profile states it; `auto` is settled by the CPU at hand."""

    activation: Activation
    reduced_range: bool | Literal["auto"] = "auto"
    logits: Literal["float", "quantised"] = "float"
    float_operators: tuple[str, ...] = FLOAT_OPERATORS

    def on(self, device: Cpu) -> Dialect:
        reduced = not device.has_int8_dot if self.reduced_range == "auto" else self.reduced_range
        return Dialect(
            activation=self.activation,
            reduced_range=reduced,
            logits=self.logits,
            float_operators=self.float_operators,
        )
