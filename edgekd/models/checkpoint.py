"""Models on disk: config.json says how to build the net, model.safetensors fills it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForImageClassification

from edgekd.models.residual_cnn import ResidualCnn, ResidualCnnConfig, ResidualCnnForImageClassification, register
from edgekd.models.shape import NetShape


def build(shape: NetShape, labels: Sequence[str], in_channels: int, seed: int) -> ResidualCnnForImageClassification:
    """A net of this shape with fresh weights; the same seed gives the same weights."""
    torch.manual_seed(seed)
    names = dict(enumerate(labels))
    config = ResidualCnnConfig(
        in_channels=in_channels,
        id2label=names,
        label2id={label: number for number, label in names.items()},
        **shape.model_dump(mode="json"),
    )
    model = ResidualCnnForImageClassification(config)
    channels_last(model)
    return model


def load(folder: Path) -> ResidualCnnForImageClassification:
    """The model of a folder; ValueError where its weights are not those of its config, all of them and no others."""
    register()
    model, told = AutoModelForImageClassification.from_pretrained(
        folder, local_files_only=True, output_loading_info=True
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if told[problem]:
            names = ", ".join(sorted(map(str, told[problem]))[:3])
            raise ValueError(f"{folder}: {problem.replace('_', ' ')} in model.safetensors: {names}")
    return model.eval()  # type: ignore[no-any-return]


def save(model: ResidualCnnForImageClassification, folder: Path) -> None:
    model.save_pretrained(folder)


def net_of(folder: Path) -> ResidualCnn:
    return load(folder).net


def channels_last(net: nn.Module) -> None:
    """In place: convolutions on a CPU train faster with channels innermost."""
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def contiguous(net: nn.Module) -> None:
    """In place: the layout that exporting and PT2E expect."""
    net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
