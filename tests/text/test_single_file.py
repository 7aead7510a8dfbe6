"""A file that reads text itself gives the embedding that the tokenizer and the model give together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers import bert

from edgekd import text_target
from edgekd.data import signature
from edgekd.errors import UnavailableError, UnsupportedError
from edgekd.hardware.profile import load_profile
from edgekd.tasks import of_tree
from edgekd.text import folders, hub, single_file
from edgekd.text.evaluate import Reader
from edgekd.text.single_file import settings_of, with_tokenizer
from edgekd.text.stages import ExportText
from edgekd.text_target import check_single_file

TEXTS = [*bert.TEXTS, "", "Ünïcode: the CAT sat!", "東京 dog", "cat " * 100]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub: a graph with its signature and its tokenizer."""
    made = tmp_path_factory.mktemp("hub")
    model = folders.load(bert.folder(tmp_path_factory.mktemp("teacher")))
    described = hub.described_as(model, ExportText(length=16, max_length=24), 0)
    onnx.save(hub.to_onnx(model.net, described), made / "model.onnx")
    signature.write(described, made)
    bert.tokenizer(made)
    return made


def test_a_sentence_gets_the_embedding_of_tokenizer_and_model(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime_extensions", reason="comes with edgekd[text-single-file]")
    graph = with_tokenizer(onnx.load(folder / "model.onnx"), folder / "tokenizer.json", signature.read(folder))
    onnx.save(graph, tmp_path / single_file.FILE)
    whole, alone, reader = (
        single_file.opened(tmp_path / single_file.FILE), ort.InferenceSession(folder / "model.onnx"), Reader(folder)
    )  # fmt: skip
    assert [(tensor.name, tensor.shape) for tensor in whole.get_inputs()] == [("text", [1])]
    for text in TEXTS:
        (own,), (expected,) = whole.run(None, {"text": np.array([text])}), alone.run(None, reader(text))
        np.testing.assert_allclose(own, expected, atol=1e-5, err_msg=text)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"type": "BPE", "vocab": {"a": 0}}},
        {"normalizer": {"type": "NFC"}},
        {"normalizer": None},
        {"model": {"type": "WordPiece", "vocab": {"a": 0, "b": 2}, "unk_token": "a"}},
    ],
    ids=["byte pairs", "another normaliser", "none", "numbers with a gap"],
)
def test_another_tokenizer_than_berts_is_refused(folder: Path, change: dict[str, Any]) -> None:
    told = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    with pytest.raises(UnsupportedError, match="reads BERT's WordPiece, and this tokenizer is none"):
        settings_of(told | change)


def test_a_device_of_fixed_shapes_is_refused_before_anything_is_trained() -> None:
    pipeline = of_tree(
        {"name": "x", "task": "sentence-embedding", "targets": ["intel-npu"], "single_file": True}, "x.yaml"
    )
    with pytest.raises(UnsupportedError, match="device intel-npu has fixed shapes, and nothing in the file would pad"):
        check_single_file(pipeline, load_profile("intel-npu"))  # type: ignore[arg-type]


def test_a_missing_library_is_told_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = {"name": "x", "task": "sentence-embedding", "targets": ["local-cpu"], "single_file": True}
    monkeypatch.setattr(text_target, "is_installed", lambda package: package != "onnxruntime-extensions")
    with pytest.raises(
        UnavailableError, match="needs onnxruntime-extensions; pip install 'edgekd\\[text-single-file\\]'"
    ):
        check_single_file(of_tree(tree, "x.yaml"), load_profile("local-cpu"))  # type: ignore[arg-type]
