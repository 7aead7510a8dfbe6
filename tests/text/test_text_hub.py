"""The graph of an encoder answers as torch does, for any batch and length, and says how it reads text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from edgekd.text import folders, hub
from edgekd.text.folders import Model
from edgekd.text.shape import EncoderShape
from edgekd.text.stages import ExportText

SHAPE = EncoderShape(
    vocab_size=300, hidden_size=32, embedding_size=16, output_size=24, head_size=8, heads=(4, 2), units=(40, 24),
    max_positions=130,
)  # fmt: skip
SHAPES: dict[str, tuple[EncoderShape, tuple[str, ...]]] = {
    "embedding": (SHAPE, ()),
    "classes": (SHAPE.model_copy(update={"pooling": "cls", "pooler": True, "output_size": 32}), ("no", "yes", "maybe")),
    "static": (SHAPE.static(), ()),
    "shared": (SHAPE.model_copy(update={"heads": (4, 4), "units": (40, 40), "share": 2}), ()),
}
SETTINGS = ExportText(length=32, max_length=128)


def net(kind: str) -> Model:
    shape, labels = SHAPES[kind]
    model = folders.build(shape, 0, labels)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture(scope="module", params=[*SHAPES])
def made(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, ort.InferenceSession]:
    model = net(request.param)
    path = tmp_path_factory.mktemp("hub") / "model.onnx"
    onnx.save(hub.to_onnx(model.net, hub.described_as(model, SETTINGS, 0)), path)
    return model, ort.InferenceSession(path)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("length", [1, 7, 32, 128])
def test_a_graph_answers_as_torch_does(made: tuple[Model, ort.InferenceSession], length: int, batch: int) -> None:
    model, session = made
    ids = torch.randint(0, 300, (batch, length), generator=torch.Generator().manual_seed(length))
    mask = torch.ones_like(ids)
    mask[-1, length // 2 + 1 :] = 0
    known = [tensor.name for tensor in session.get_inputs()]
    feeds = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    (answers,) = session.run(None, {name: feeds[name] for name in known})
    with torch.no_grad():
        np.testing.assert_allclose(answers, model.net(ids, mask).numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", [*SHAPES])
@pytest.mark.parametrize("length", [1, 7, 24])
def test_a_graph_of_fixed_length_answers_to_padded_text_as_the_free_one_does_to_the_text(
    kind: str, length: int, tmp_path: Path
) -> None:
    model, sessions = net(kind), []
    for fixed in (False, True):
        described = hub.described_as(model, ExportText(length=24, max_length=24, fixed=fixed), 0)
        onnx.save(hub.to_onnx(model.net, described), tmp_path / "model.onnx")
        sessions.append(ort.InferenceSession(tmp_path / "model.onnx"))
    free, fixed_one = sessions
    assert all(tensor.shape == [1, 24] for tensor in fixed_one.get_inputs())
    ids = np.random.default_rng(length).integers(0, 300, (1, length))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    padded = {name: np.pad(array, ((0, 0), (0, 24 - length))) for name, array in feeds.items()}
    (expected,), (answers,) = (
        session.run(None, {tensor.name: given[tensor.name] for tensor in session.get_inputs()})
        for session, given in ((free, feeds), (fixed_one, padded))
    )
    np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_a_signature_says_how_text_is_read_and_at_which_length_it_is_measured() -> None:
    described = hub.described_as(net("embedding"), SETTINGS, 7)
    assert described.outputs[0].meaning == "embedding"
    assert [(spec.name, spec.dtype, spec.shape, spec.example) for spec in described.inputs] == [
        (name, "int64", ("batch", "sequence"), (32,)) for name in ("input_ids", "attention_mask")
    ]
    assert described.text is not None
    assert described.text.model_dump() == {
        "tokenizer": "tokenizer.json", "max_length": 128, "padding": 7, "pooling": "mean", "normalised": True
    }  # fmt: skip


def test_a_classifiers_signature_names_its_classes() -> None:
    described = hub.described_as(net("classes"), SETTINGS, 0)
    assert described.outputs[0].labels == ("no", "yes", "maybe")
    assert described.outputs[0].meaning == "logits"


def test_no_more_is_read_than_there_are_positions() -> None:
    described = hub.described_as(net("embedding"), ExportText(length=32, max_length=512), 0)
    assert described.text is not None
    assert described.text.max_length == 130


def test_a_graph_is_one_file_without_torchs_traces(tmp_path: Path) -> None:
    model = net("static")
    graph = hub.to_onnx(model.net, hub.described_as(model, SETTINGS, 0))
    onnx.save(graph, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert not any(node.metadata_props for node in graph.graph.node)
