"""What a device cannot hold or run is left out before anybody scores or measures it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.hardware.profile import Limits, load_profile
from edgekd.models.shape import NetShape, parameters
from edgekd.search.limits import broken, limits_of, operators, peak_activations, unwritten
from edgekd.search.space import sample
from edgekd.search.spaces import MobileCnnSpace, ResidualCnnSpace, VitSpace

IMAGE = (3, 32, 32)
PLAIN = NetShape(stem_width=8, widths=((16, 16),), strides=(2,), kinds=("plain",))
RESIDUAL = NetShape(stem_width=8, widths=((16, 16),), strides=(2,))


def test_the_peak_is_the_layer_that_holds_most() -> None:
    stem = 3 * 1024 + 8 * 1024  # the image and what the stem makes of it
    assert peak_activations(PLAIN, IMAGE) == max(stem, 8 * 1024 + 16 * 256)
    assert peak_activations(RESIDUAL, IMAGE) == max(stem, 8 * 1024 + 2 * 16 * 256)
    bare = NetShape(stem_width=8, widths=((8, 8),), strides=(1,), kinds=("inverted",))
    assert peak_activations(bare, IMAGE) == (8 + 8 + 8) * 1024  # nothing is expanded: what it reads is there once
    encoder = NetShape(stem_width=8, stem_stride=2, widths=((8, 8),), strides=(1,), kinds=("encoder",), head_width=4)
    assert peak_activations(encoder, (3, 32, 32)) == 2 * 8 * 256 + 2 * 4 * 2 * 256**2  # softmax of two heads, in floats
    wide = NetShape(stem_width=8, widths=((48, 8),), strides=(1,), kinds=("inverted",))
    assert peak_activations(wide, IMAGE) == (8 + 48 + 48) * 1024  # its input waits to be added


@given(st.integers(0, 500))
def test_twice_the_side_holds_four_times_as_much(seed: int) -> None:
    (shape,) = sample(ResidualCnnSpace(kinds=("residual", "plain", "inverted")), 1, seed)
    assert peak_activations(shape, (3, 64, 64)) == 4 * peak_activations(shape, IMAGE)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(), ""),
        (Limits(width_multiple=16), "a width of 8, no multiple of 16"),
        (Limits(operators=("Conv", "Relu", "ReduceMean", "Gemm")), "Add, which the device does not run"),
        (Limits(weights_kib=1), "4 KiB of weights, over 1"),
        (Limits(activations_kib=8), "16 KiB of activations at its peak, over 8"),
    ],
)
def test_each_limit_says_what_breaks_it(limits: Limits, why: str) -> None:
    assert broken(RESIDUAL, IMAGE, limits, parameters(RESIDUAL)) == why


def test_depthwise_convolutions_are_an_operator_of_their_own() -> None:
    (mobile,) = sample(MobileCnnSpace(), 1, 0)
    assert "DepthwiseConv" in operators(mobile)
    assert "DepthwiseConv" not in operators(RESIDUAL)
    assert "Add" not in operators(PLAIN)
    (attentive,) = sample(VitSpace(), 1, 0)
    assert {"Softmax", "MatMul", "DepthwiseConv"} <= operators(attentive)


def test_what_an_exporter_does_not_write_is_left_out_before_anything_is_measured() -> None:
    profile = load_profile("local-cpu")
    litert = profile.model_copy(update={"runtimes": (profile.runtime("litert"),)})
    (attentive,) = sample(VitSpace(), 1, 0)
    (mobile,) = sample(MobileCnnSpace(), 1, 0)
    assert "which the device does not run" in broken(attentive, IMAGE, limits_of(litert), 1)
    assert unwritten(attentive, "litert") == "MatMul, which the exporter litert does not write"
    assert unwritten(mobile, "litert") == unwritten(attentive, "onnxruntime") == ""
    assert broken(mobile, IMAGE, limits_of(litert), 1) == broken(attentive, IMAGE, limits_of(profile), 1) == ""


def test_a_microcontrollers_flash_bounds_the_weights() -> None:
    profile = load_profile("cortex-m7")
    assert limits_of(profile).weights_kib == profile.hardware.flash_kib
    stated = profile.model_copy(update={"limits": Limits(weights_kib=5)})
    assert limits_of(stated).weights_kib == 5
