"""Snapshots of a running training: one safetensors file, named by its epoch and digest, replaced whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from edgekd.engine.digest import digest_file
from edgekd.train.average import Average


def save(folder: Path, epoch: int, net: nn.Module, optimizer: Optimizer, average: Average | None = None) -> None:
    """Keep the net's state and the optimiser's momentum after `epoch` whole epochs; older snapshots go."""
    tensors = {f"net.{name}": value.detach().clone().contiguous() for name, value in net.state_dict().items()}
    for number, parameter in enumerate(_parameters(optimizer)):
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{number}"] = momentum.contiguous()
    if average is not None:
        tensors |= {f"average.{name}": value.contiguous() for name, value in average.state().items()}
    half = folder / ".half"
    save_file(tensors, half)
    older = list(folder.glob("snapshot-*"))
    half.replace(folder / f"snapshot-{epoch:06d}-{digest_file(half)}")
    for path in older:
        path.unlink(missing_ok=True)


def restore(folder: Path, net: nn.Module, optimizer: Optimizer, average: Average | None = None) -> int:
    """How many epochs the newest sound snapshot in `folder` has behind it, now loaded; 0 where there is none."""
    for epoch, tensors in _sound(folder):
        own = {name.removeprefix("net."): t for name, t in tensors.items() if name.startswith("net.")}
        shapes = {name: parameter.shape for name, parameter in net.named_parameters()}
        # parameters alone: the buffers of observers take their shape from the first batch
        if own.keys() != net.state_dict().keys() or any(own[name].shape != shape for name, shape in shapes.items()):
            continue  # of another net: the code has changed since
        net.load_state_dict(own)
        for number, parameter in enumerate(_parameters(optimizer)):
            if (momentum := tensors.get(f"momentum.{number}")) is not None:
                # in the parameter's own memory layout, or a resumed run would round differently
                optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum)
        if average is not None:
            kept = {name.removeprefix("average."): t for name, t in tensors.items() if name.startswith("average.")}
            average.load(kept)
        return epoch
    return 0


def _sound(folder: Path) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """The snapshots whose bytes are those of their names, the newest first."""
    for path in sorted(folder.glob("snapshot-*"), reverse=True):
        _, epoch, digest = path.name.split("-")
        if digest_file(path) == digest:
            yield int(epoch), load_file(path)


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
