"""
The kernels that a runtime runs for a shape, after it fused what it fuses: what a latency is the sum of.

In integers a ReLU is the range of the convolution before it, and an addition is a kernel of its own. In floats the
addition goes into the convolution that made one side of it, unless that one has a ReLU already. A test holds this
against ONNX Runtime's optimised graphs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from edgekd.models.shape import BlockShape, NetShape, side_after

Kind = Literal["quantize", "conv", "pointwise", "depthwise", "add", "product", "softmax", "pool", "gemm"]
Image = tuple[int, int, int]  # channels, height, width
VECTOR_IN, VECTOR_OUT = 8, 16  # channels that kernels take at a time; what a device's are, the fit finds


class Kernel(NamedTuple):
    kind: Kind
    rows_in: int
    columns_in: int
    channels_in: int
    rows: int  # of what comes out
    columns: int
    channels: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    adds: bool = False  # a second input, after the sums

    @property
    def macs(self) -> int:
        """Multiplications with an addition; none where nothing is multiplied."""
        if self.kind in ("quantize", "add", "softmax", "pool"):
            return 0
        return self.rows * self.columns * self.channels * self.kernel**2 * self.channels_in // self.groups

    @property
    def weights(self) -> int:
        if not self.macs or self.kind == "product":
            return 0
        return self.kernel**2 * self.channels_in // self.groups * self.channels


def kernels(shape: NetShape, image: Image, classes: int, *, quantised: bool) -> tuple[Kernel, ...]:
    """From the pixels to the logits, in the order in which they run."""
    return tuple(_kernels(shape, image, classes, quantised))


def _kernels(shape: NetShape, image: Image, classes: int, quantised: bool) -> Iterator[Kernel]:
    channels, rows, columns = image
    if quantised:
        yield Kernel("quantize", rows, columns, channels, rows, columns, channels)
    last = _conv(image, shape.stem_width, shape.stem_kernel, shape.stem_stride)
    yield last
    for block in shape.blocks:
        *inner, last = _block(_out(last), block, quantised)
        yield from (*inner, last)
    yield Kernel("pool", last.rows, last.columns, last.channels, 1, 1, last.channels)
    yield Kernel("gemm", 1, 1, last.channels, 1, 1, classes)


def _block(image: Image, block: BlockShape, quantised: bool) -> Iterator[Kernel]:
    """The last of them has the block's output."""
    if block.kind == "encoder":
        yield from _encoder(image, block, quantised)
        return
    fused = block.adds and block.kind != "skip" and not quantised
    if block.kind == "residual":
        if block.projects:
            yield _conv(image, block.out, 1, block.stride)
        inner = _conv(image, block.inner, block.kernel, block.stride)
        yield inner
        last = _conv(_out(inner), block.out, block.kernel, adds=fused)
    elif block.kind == "inverted":
        if block.inner != block.width_in:
            yield _conv(image, block.inner, 1)
        inner = _conv((block.inner, *image[1:]), block.inner, block.kernel, block.stride, groups=block.inner)
        yield inner
        last = _conv(_out(inner), block.out, 1, adds=fused)
    else:
        last = _conv(image, block.out, block.kernel, block.stride)
    yield last
    if block.adds and not fused:
        yield _add(_out(last))


def _encoder(image: Image, block: BlockShape, quantised: bool) -> Iterator[Kernel]:
    """In floats the first and the last addition go into convolutions; the one behind attention does not."""
    width, rows, columns = image
    pixels, heads, attends = rows * columns, block.heads, block.attends
    yield _conv(image, width, block.kernel, groups=width, adds=not quantised)
    if quantised:
        yield _add(image)
    yield from [_conv(image, attends, 1)] * 3
    yield Kernel("product", rows, columns, attends, pixels, pixels, heads, groups=heads)
    yield Kernel("softmax", pixels, pixels, heads, pixels, pixels, heads)
    yield Kernel("product", rows, columns, pixels * heads, rows, columns, attends, groups=heads)
    yield from [_conv((attends, rows, columns), width, 1), _add(image), _conv(image, block.inner, 1)]
    yield _conv((block.inner, rows, columns), width, 1, adds=not quantised)
    if quantised:
        yield _add(image)


def _add(image: Image) -> Kernel:
    channels, rows, columns = image
    return Kernel("add", rows, columns, channels, rows, columns, channels, adds=True)


def _conv(image: Image, out: int, kernel: int, stride: int = 1, groups: int = 1, adds: bool = False) -> Kernel:
    kind: Kind = "depthwise" if groups > 1 else "pointwise" if kernel == 1 else "conv"
    channels, rows, columns = image
    after = (side_after(rows, kernel, stride), side_after(columns, kernel, stride))
    return Kernel(kind, rows, columns, channels, *after, out, kernel, stride, groups, adds)


def _out(kernel: Kernel) -> Image:
    return kernel.channels, kernel.rows, kernel.columns


def features(net: Iterable[Kernel]) -> dict[str, float]:
    """
    What a time can be proportional to, summed over the kernels of each kind, as `<kind>.<what>`.

    Calls; multiplications as they are and with channels filled up to vectors; values read, written, gathered into
    columns, added; weights. Such features for each kernel kind: Zhang et al., "nn-Meter" (2021), section 4; ours are
    sums over a net, since what is measured here are whole nets.
    """
    found: dict[str, float] = defaultdict(float)
    for kernel in net:
        for name, value in _of_one(kernel):
            found[f"{kernel.kind}.{name}"] += value
    return dict(found)


def _of_one(kernel: Kernel) -> Iterator[tuple[str, float]]:
    pixels = kernel.rows * kernel.columns
    written = pixels * kernel.channels
    yield "calls", 1
    yield "read", kernel.rows_in * kernel.columns_in * kernel.channels_in
    if kernel.kind == "product":
        yield "macs", kernel.macs
        yield "written", written
    elif kernel.kind == "depthwise":
        yield "macs", kernel.macs
        yield "written", written
        yield "taps", pixels * kernel.kernel**2
    elif kernel.kind in ("conv", "pointwise"):
        columns = pixels * kernel.kernel**2
        yield "macs", kernel.macs
        yield "filled_macs", columns * _filled(kernel.channels_in, VECTOR_IN) * _filled(kernel.channels, VECTOR_OUT)
        yield "columns", columns * kernel.channels_in
        yield "written", written
        yield "pixels", pixels
        yield "weights", kernel.weights
        if kernel.adds:
            yield "added", written


def _filled(channels: int, vector: int) -> int:
    return -(-channels // vector) * vector
