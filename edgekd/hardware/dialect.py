"""The quantisation dialect of a runtime: what its integer kernels accept."""

from __future__ import annotations

from typing import Literal

from edgekd.settings import Settings


class Dialect(Settings):
    """
    int8 weights are symmetric and per output channel in every dialect so far; what differs is the rest.

    One file does not serve two runtimes: ONNX Runtime on x86 fuses uint8 activations and leaves int8 ones in
    float, slower than fp32; TensorRT refuses any zero point but 0.
    """

    activation: Literal["uint8-affine", "int8-symmetric"]
    # weights within +-63: x86 without VNNI adds two u8 x s8 products in 16 bits, which +-127 overflows
    reduced_range: bool

    @property
    def weight_max(self) -> int:
        return 63 if self.reduced_range else 127

    def __str__(self) -> str:
        return f"{self.activation}{', 7-bit weights' if self.reduced_range else ''}"
