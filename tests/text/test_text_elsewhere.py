"""Text for devices that are compiled for here: one length, the device's own dialect, and what can be said of it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import bert

from edgekd import api, tasks
from edgekd.deploy.bundle import Built
from edgekd.errors import UnsupportedError
from edgekd.report import targets_page
from edgekd.text import folders, hub
from edgekd.text.stages import ExportText

WORDS = ["cat", "dog", "mat", "road", "file", "red", "blue", "sat", "ran", "read", "write", "open"]
SETS = [
    "keep={layers: 1, heads: 2, units: 24, max_positions: 64, texts: 32}", "calibration_texts=32", "judged_texts=20",
    "lengths={train: 16, read: 64, measured: 16, fixed: 8}", "precision=float32", "variants=[fp32, int8]",
    "distill.train={epochs: 1, batch: 16, threads: 1}", "budget={fidelity: 0.01, size_mib: 1, latency_p50_ms: 5}",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("text"), random.Random(0)
    bert.folder(folder / "teacher")
    texts = sorted({" ".join(draw.choices(WORDS, k=draw.randint(3, 9))) for _ in range(200)})
    (folder / "lines.txt").write_text("\n".join(texts) + "\n", "utf-8")
    return folder


def run(home: Path, target: str, *more: str, **where: Any) -> Built:
    data = f"data={{source: lines, path: {home / 'lines.txt'}, val_share: 0.15, test_share: 0.15}}"
    pipeline = tasks.load("sentence-embedding", [*SETS, data, f"teacher.from={home / 'teacher'}", *more])
    (done,) = api.build(pipeline, targets=[target], workspace=home / "workspace", out=home / "dist", **where)
    return done


def told(done: Built, numerics: str, variants: set[str]) -> None:
    report = done.report
    assert set(report["variants"]) == variants | {"teacher-fp32", "fp32"}
    assert (report["padded"], report["read"], report["numerics"]) == (True, 8, numerics)
    assert report["undecided"] == ["latency_p50_ms 5: not decided, the latency is none: measure on the device"]
    assert {verdict["limit"] for verdict in report["verdicts"]} == {"fidelity", "size_mib"}
    shipped = report["variants"][report["shipped"]]
    assert shipped["costs"]["latency_kind"] == "none"
    assert shipped["test"]["cosine_to_float"][0] > 0.9
    assert "every text is padded to 8 tokens" in (done.folder / "report.md").read_text("utf-8")
    inputs = json.loads((done.folder / "manifest.json").read_text("utf-8"))["signature"]["inputs"]
    assert [spec["shape"] for spec in inputs] == [[1, 8]] * 2
    assert (done.folder / "tokenizer.json").is_file()
    line = dict(zip(targets_page.HEADINGS, targets_page.cells(targets_page.row(report)), strict=True))
    assert line["accuracy on test"].endswith(f"like the teacher ({numerics})")
    assert line["latency"] == "none"


@pytest.mark.slow
def test_a_gpu_elsewhere_gets_an_engine_in_its_own_dialect(home: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="comes with edgekd[tensorrt-rtx]")
    told(run(home, "nvidia-rtx"), "reference", {"int8", "float"})


@pytest.mark.nightly
def test_an_npu_elsewhere_gets_a_file_that_its_simulator_runs(home: Path) -> None:
    pytest.importorskip("onnxruntime_qnn", reason="comes with edgekd[qnn]")
    told(run(home, "qualcomm-htp-v75"), "simulator", {"int8"})


def test_a_file_of_fixed_length_leaves_levels_for_scores_beside_its_mask(tmp_path: Path) -> None:
    """-1e4 in a range of 256 levels would leave each of the scores on the same one."""
    model = folders.load(bert.folder(tmp_path / "teacher"))
    least = []
    for fixed in (False, True):
        described = hub.described_as(model, ExportText(length=8, max_length=8, fixed=fixed), 0)
        graph = hub.to_onnx(model.net, described)
        constants = [onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer]
        least.append(min(float(one) for one in constants if one.size == 1 and one.dtype == np.float32))
    assert least == [-1e4, -30.0]


def test_there_is_no_file_without_int8(home: Path) -> None:
    with pytest.raises(UnsupportedError, match="device nvidia-rtx: takes quantised graphs; leave int8 among variants"):
        run(home, "nvidia-rtx", "variants=[fp32]")
