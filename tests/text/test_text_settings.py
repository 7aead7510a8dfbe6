"""What a pipeline says of text is data."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from edgekd.settings import validate
from edgekd.text.settings import DistillEmbedding, HiddenLoss, Student, TeachClasses, TextTraining


def test_settings_of_text_import_no_torch() -> None:
    code = (
        "import sys, edgekd.text.settings, edgekd.text.sources, edgekd.text.shape, edgekd.text.bands\n"
        "assert not {'torch', 'transformers', 'tokenizers', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_losses_go_by_name_and_weight() -> None:
    told = {"losses": [{"name": "embedding"}, {"name": "relations", "relation_heads": 48, "layer": 5, "weight": 0.5}]}
    found = validate(DistillEmbedding, told, "my.yaml")
    assert [loss.name for loss in found.losses] == ["embedding", "relations"]
    assert found.losses[1].weight_at(0.3) == 0.5


def test_classes_take_losses_of_layers_in_stages() -> None:
    told = {"losses": [{"name": "hidden", "stop": 0.5}, {"name": "kd", "start": 0.5}, {"name": "cross-entropy"}]}
    found = validate(TeachClasses, told, "my.yaml")
    assert isinstance(found.losses[0], HiddenLoss)
    assert [loss.weight_at(0.7) for loss in found.losses] == [0, 0.9, 0.1]


def test_embeddings_know_no_labels() -> None:
    with pytest.raises(ValidationError, match="cross-entropy"):
        DistillEmbedding.model_validate_json('{"losses": [{"name": "cross-entropy"}]}')


def test_text_has_rates_of_its_own() -> None:
    assert TextTraining().learning_rate < 1e-2
    assert Student().layers == 3
