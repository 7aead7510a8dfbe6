"""Answers to many samples come in their order, however many sessions share them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.onnx_models import one_node

from edgekd.deploy.predict import predict, side_by_side
from edgekd.hardware.runtime import Session, open_session
from edgekd.hardware.specs import plain_onnxruntime


def opened(path: Path, count: int) -> list[Session]:
    return [open_session(path, plain_onnxruntime()) for _ in range(count)]


@pytest.mark.parametrize("axis", [1, 2, "batch"])
@pytest.mark.parametrize(("samples", "sessions"), [(1, 3), (5, 2), (7, 3), (6, 1)])
def test_sessions_that_share_the_samples_answer_as_one(
    tmp_path: Path, axis: int | str, samples: int, sessions: int
) -> None:
    path = one_node("Relu", tmp_path / "relu.onnx", shape=(axis, 4))
    x = np.random.default_rng(0).standard_normal((samples, 4)).astype(np.float32)
    alone = predict("relu", opened(path, 1)[0], {"x": x}, batch=3)
    shared = side_by_side("relu", opened(path, sessions), {"x": x}, batch=3)
    np.testing.assert_array_equal(alone, np.maximum(x, 0))
    np.testing.assert_array_equal(shared, alone)
