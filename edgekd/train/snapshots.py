"""Snapshots of a running training: one safetensors file, replaced whole."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim import Optimizer

NAME = "snapshot.safetensors"


def save(folder: Path, epoch: int, net: nn.Module, optimizer: Optimizer) -> None:
    """Keep the net's state and the optimiser's momentum after `epoch` whole epochs."""
    tensors = {f"net.{name}": value.detach().clone().contiguous() for name, value in net.state_dict().items()}
    for number, parameter in enumerate(_parameters(optimizer)):
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{number}"] = momentum.contiguous()
    half = folder / f".{NAME}"
    save_file(tensors, half, metadata={"epoch": str(epoch)})
    half.replace(folder / NAME)


def restore(folder: Path, net: nn.Module, optimizer: Optimizer) -> int:
    """How many epochs the snapshot in `folder` has behind it, now loaded; 0 where there is none to be read."""
    if not (folder / NAME).is_file():
        return 0
    try:
        with safe_open(folder / NAME, "pt") as file:
            epoch = int(file.metadata()["epoch"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError):
        return 0  # cut short by a crash of the machine: begin again rather than guess
    net.load_state_dict({n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")})
    for number, parameter in enumerate(_parameters(optimizer)):
        if (momentum := tensors.get(f"momentum.{number}")) is not None:
            # in the parameter's own memory layout, or a resumed run would round differently
            optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum)
    return epoch


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
