"""What a device cannot hold or run, known from a shape alone: pure functions of it."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.hardware.profile import DeviceProfile, Limits
from edgekd.models.shape import NetShape, side_after

# of edgekd's shapes, where an exporter does not write all of them
TFLITE = ("Add", "Conv", "DepthwiseConv", "Gemm", "ReduceMean", "Relu")
WRITTEN = {"litert": TFLITE, "ethos-u": TFLITE, "tflite-micro": TFLITE}


def limits_of(profile: DeviceProfile) -> Limits:
    """A profile's own limits, and where it says none, those of its memory: flash for weights, SRAM for activations."""
    stated, hardware = profile.limits, profile.hardware
    first = profile.runtimes[0].exporter
    return stated.model_copy(
        update={
            "operators": stated.operators or WRITTEN.get(first, ()),
            "weights_kib": stated.weights_kib or hardware.flash_kib,
            "activations_kib": stated.activations_kib or (chip.sram_kib if (chip := hardware.accelerator) else None),
        }
    )


def unwritten(shape: NetShape, exporter: str) -> str:
    """Why this exporter cannot write such a shape; empty where it may."""
    lacking = sorted(operators(shape) - set(WRITTEN[exporter])) if exporter in WRITTEN else []
    return f"{lacking[0]}, which the exporter {exporter} does not write" if lacking else ""


def broken(shape: NetShape, image: Sequence[int], limits: Limits, weights: float) -> str:
    """
    Why this shape cannot run as int8 within the limits; empty where it may. `image` is [channels, H, W], `weights` how
    many it has.
    """
    if odd := sorted({w for w in widths(shape) if w % limits.width_multiple}):
        return f"a width of {odd[0]}, no multiple of {limits.width_multiple}"
    if limits.operators and (lacking := sorted(operators(shape) - set(limits.operators))):
        return f"{lacking[0]}, which the device does not run"
    if limits.weights_kib and (size := weights / 1024) > limits.weights_kib:
        return f"{size:.0f} KiB of weights, over {limits.weights_kib:g}"
    if limits.activations_kib and (peak := peak_activations(shape, image) / 1024) > limits.activations_kib:
        return f"{peak:.0f} KiB of activations at its peak, over {limits.activations_kib:g}"
    return ""


def widths(shape: NetShape) -> set[int]:
    attended = {block.attends for block in shape.blocks if block.kind == "encoder"}
    return {shape.stem_width, *(width for pair in shape.widths for width in pair)} | attended


def operators(shape: NetShape) -> set[str]:
    """ONNX's names; a convolution of one channel a group is DepthwiseConv here, which devices run otherwise."""
    found = {"Conv", "Relu", "ReduceMean", "Gemm"}
    found |= {"Add" for block in shape.blocks if block.adds}
    found |= {"DepthwiseConv" for block in shape.blocks if block.kind in ("inverted", "encoder")}
    return found | ({"Reshape", "Transpose", "MatMul", "Mul", "Softmax"} if "encoder" in shape.kinds else set())


def peak_activations(shape: NetShape, image: Sequence[int]) -> int:
    """Bytes of int8 tensors that are held at once, at the most: a layer's input and output, and what is added later."""
    channels, height, width = image
    rows, columns = (side_after(side, shape.stem_kernel, shape.stem_stride) for side in (height, width))
    sides = (rows, columns)
    peak = channels * height * width + shape.stem_width * sides[0] * sides[1]
    for block in shape.blocks:
        read = block.width_in * sides[0] * sides[1]
        rows, columns = (side_after(side, block.kernel, block.stride) for side in sides)
        after = (rows, columns)
        inner = block.inner * after[0] * after[1]
        out = block.out * after[0] * after[1]
        if block.kind == "inverted":
            expanded = block.inner * sides[0] * sides[1] if block.inner != block.width_in else 0
            waits = read if block.adds or not expanded else 0  # what is not expanded is what the filters read
            peak = max(peak, waits + expanded + inner, read * block.adds + inner + out, read + expanded)
        elif block.kind == "encoder":
            pixels = after[0] * after[1]
            attended = block.attends * pixels  # queries, keys and values are as large each
            alike = 4 * block.heads * pixels**2  # read by the softmax as floats, and written as such
            peak = max(peak, read + 3 * attended, read + attended + 2 * alike, read + inner + out)
        elif block.kind == "residual":
            peak = max(peak, read + inner + out, read + 2 * out * block.projects)
        else:
            peak = max(peak, read + out + out * block.adds)
        sides = after
    return peak
