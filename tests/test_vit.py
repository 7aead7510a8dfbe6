"""A small vision transformer goes the whole way: found in its space, trained, quantised after it and in it, proved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekd.api import build
from edgekd.hardware.runtimes.onnxruntime import OnnxRuntimeSession
from edgekd.hardware.specs import plain_onnxruntime
from edgekd.models.shape import shape_of
from edgekd.pipeline import load_pipeline

SPACE = (
    "{name: vit, stem_widths: [16], stem_strides: [4], stem_kernels: [4], stages: [1], blocks: [1, 2], expand: [1, 2], "
    "head_width: 4, heads: [0.5], width_min: 16, width_max: 16, width_step: 8}"
)


@pytest.mark.nightly
def test_a_transformer_is_built_from_its_space_to_int8(
    micro_settings: list[str], workspace: Path, tmp_path: Path
) -> None:
    others = [setting for setting in micro_settings if not setting.startswith(("search.space", "search.candidates"))]
    sets = [f"search.space={SPACE}", "search.candidates=3", "distill.epochs=12", "distill.learning_rate=0.05"]
    pipeline = load_pipeline("digits", [*others, *sets])
    eager = pipeline.quantize.model_copy(update={"margin_points": -100.0})  # QAT, whatever PTQ loses
    (built,) = build(pipeline.model_copy(update={"quantize": eager}), workspace=workspace, out=tmp_path)
    shape = shape_of(built.report["search"]["shape"])
    assert {block.kind for block in shape.blocks} == {"encoder"}
    assert all((block.heads, block.attends, block.out) == (2, 8, 16) for block in shape.blocks)
    rows = built.report["variants"]
    assert rows["fp32"]["accuracy_test_percent"]["interval"][0] > 20  # it learnt: chance is 10
    for name in ("int8", "int8-qat"):
        covered = rows[name]["coverage"]
        assert covered["total"] == 1 + 9 * len(shape.blocks) + 1  # stem, of each encoder two products too, classifier
        assert covered["left_float"] in ([], ["node_linear"])  # the classifier, whose answers are floats
        assert rows[name]["parity"]["top1_agreement"] > 0.9
        assert rows[name]["accuracy_test_percent"]["interval"][0] > 20
    session = OnnxRuntimeSession(built.folder / "model.onnx", plain_onnxruntime())
    (logits,) = session.run({"pixel_values": np.zeros((2, 1, 28, 28), np.float32)})
    assert logits.shape == (2, 10)
    session.close()
