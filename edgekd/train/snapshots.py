"""Snapshots of a running training: one safetensors file, named by its place and digest, replaced whole."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from edgekd.engine.digest import digest_file
from edgekd.train.average import Average

BUFFERS = ("momentum_buffer", "taught_buffer", "exp_avg", "exp_avg_sq", "step")
RANDOM = "random"


@dataclass
class Place:
    """How far a training is: whole epochs, steps of the next one, and what was noted on the way."""

    epoch: int = 0
    step: int = 0
    notes: dict[str, Any] = field(default_factory=dict)


def save(folder: Path, place: Place, net: nn.Module, optimizer: Optimizer, average: Average | None = None) -> None:
    """Keep the net's state, the optimiser's momenta and torch's random state; older snapshots go."""
    tensors = {f"net.{name}": value.detach().clone().contiguous() for name, value in net.state_dict().items()}
    for number, parameter in enumerate(_parameters(optimizer)):
        for name in BUFFERS:
            if (kept := optimizer.state.get(parameter, {}).get(name)) is not None:
                tensors[f"{name}.{number}"] = kept.contiguous()
    if average is not None:
        tensors |= {f"average.{name}": value.contiguous() for name, value in average.state().items()}
    tensors[RANDOM] = torch.get_rng_state()
    half = folder / ".half"
    save_file(tensors, half, {"place": json.dumps(asdict(place))})
    older = list(folder.glob("snapshot-*"))
    half.replace(folder / f"snapshot-{place.epoch:06d}.{place.step:08d}-{digest_file(half)}")
    for path in older:
        path.unlink(missing_ok=True)


def restore(folder: Path, net: nn.Module, optimizer: Optimizer, average: Average | None = None) -> Place:
    """Where the newest sound snapshot in `folder` stood, now loaded; the beginning where there is none."""
    for place, tensors in _sound(folder):
        own = _part(tensors, "net")
        shapes = {name: parameter.shape for name, parameter in net.named_parameters()}
        # parameters alone: the buffers of observers take their shape from the first batch
        if own.keys() != net.state_dict().keys() or any(own[name].shape != shape for name, shape in shapes.items()):
            continue  # of another net: the code has changed since
        _load(net, own)
        for number, parameter in enumerate(_parameters(optimizer)):
            for name in BUFFERS:
                if (kept := tensors.get(f"{name}.{number}")) is not None:
                    # in the parameter's own memory layout, or a resumed run would round differently
                    like = parameter if kept.shape == parameter.shape else kept  # AdamW's count of steps is a scalar
                    optimizer.state[parameter][name] = torch.empty_like(like).copy_(kept)
        if average is not None:
            average.load(_part(tensors, "average"))
        torch.set_rng_state(tensors[RANDOM])
        return place
    return Place()


def _load(net: nn.Module, state: dict[str, Tensor]) -> None:
    """Modules tell by the versions beside a state how to read it: without them observers put their constants back."""
    versions = net.state_dict()._metadata  # type: ignore[attr-defined]
    versioned = OrderedDict(state)
    versioned._metadata = versions  # type: ignore[attr-defined]
    net.load_state_dict(versioned)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def _sound(folder: Path) -> Iterator[tuple[Place, dict[str, Tensor]]]:
    """The snapshots whose bytes are those of their names, the newest first."""
    for path in sorted(folder.glob("snapshot-*"), reverse=True):
        if digest_file(path) == path.name.rsplit("-", 1)[1]:
            with safe_open(path, "pt") as file:
                told = (file.metadata() or {}).get("place")
                if told is not None:
                    yield Place(**json.loads(told)), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
