"""Models on disk: config.json says how to build the net, model.safetensors fills it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from edgekd.models import foreign
from edgekd.models.residual_cnn import ResidualCnnConfig, ResidualCnnForImageClassification
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
    return foreign.transformers_net(folder).eval()  # type: ignore[return-value]


def save(model: ResidualCnnForImageClassification, folder: Path) -> None:
    model.save_pretrained(folder)


def net_of(folder: Path) -> nn.Module:
    """The net of a checkpoint, edgekd's own or another: from x [B, C, H, W] to logits [B, K]."""
    about = foreign.described(folder)
    return load(folder).net if about is None else foreign.net_of(folder, about)


def channels_last(net: nn.Module) -> None:
    """In place: convolutions on a CPU train faster with channels innermost."""
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def contiguous(net: nn.Module) -> None:
    """In place: the layout that exporting and PT2E expect."""
    net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
