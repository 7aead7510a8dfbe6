"""Named outputs of a net beside its logits: of a student as outputs of its graph, of a teacher by hooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.errors import ConfigError
from edgekd.models.residual_cnn import ResidualCnn

HEADS = ("label_head", "taught_head")


class Featured(nn.Module):
    """From x to (logits, *features) as a tuple: in a graph that torch.export made, hooks would never fire."""

    def __init__(self, net: ResidualCnn, names: Sequence[str]) -> None:
        super().__init__()
        self.net, self.names = net, tuple(names)
        check(self.names, known(net), "the student")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        found = outputs(self.net, x)
        return found["logits"], *(found[name] for name in self.names)


def outputs(net: ResidualCnn, x: Tensor) -> dict[str, Tensor]:
    """
    `stem`, `block1`, ..., `stage1`, ... [B, C, H, W], `pooled` [B, C] and `logits` [B, K]; a stage's output is that of
    its last block. Of two heads `label_head` and `taught_head` [B, K] too.
    """
    found = {"stem": net.stem(x)}
    last, stage = found["stem"], 0
    for number, block in enumerate(net.blocks, 1):
        if number == 1 or _strided(block):
            stage += 1
        last = found[f"block{number}"] = found[f"stage{stage}"] = block(last)
    found["pooled"] = last.mean((2, 3))
    found["logits"] = net.answer(found["pooled"])
    if net.dual_head is not None:
        found["label_head"], found["taught_head"] = net.classifier(found["pooled"]), net.taught(found["pooled"])
    return found


def known(net: ResidualCnn) -> list[str]:
    blocks = list(net.blocks)
    stages = 1 + sum(_strided(block) for block in blocks[1:])
    return [
        "stem", *(f"block{number}" for number in range(1, len(blocks) + 1)),
        *(f"stage{number}" for number in range(1, stages + 1)), "pooled",
        *(HEADS if net.dual_head is not None else ()),
    ]  # fmt: skip


def _strided(block: Any) -> bool:
    return bool(block.stride > 1)


class Listening:
    """Any net's logits, and what the modules of these paths gave: of one of edgekd's own, its named outputs."""

    def __init__(self, net: nn.Module, names: Sequence[str]) -> None:
        self.net, self.names = net, tuple(names)
        self._heard: dict[str, Tensor] = {}
        if isinstance(net, ResidualCnn):
            check(self.names, known(net), "the teacher")
            return
        modules = {path.removeprefix("net."): module for path, module in net.named_modules() if path}
        check(self.names, list(modules), "the teacher")
        for name in self.names:
            modules[name].register_forward_hook(self._hook(name))

    def __call__(self, x: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        if isinstance(self.net, ResidualCnn):
            if not self.names:
                return self.net(x), {}
            found = outputs(self.net, x)
            return found["logits"], {name: found[name] for name in self.names}
        self._heard.clear()
        logits = self.net(x)
        if silent := [name for name in self.names if name not in self._heard]:
            raise ConfigError(
                f"distill.losses: the teacher's {silent[0]!r} is never called by itself (a list of layers?), and gives "
                "no output; name a layer within it"
            )
        return logits, {name: self._heard[name] for name in self.names}

    def _hook(self, name: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, (tuple, list)) else getattr(output, "last_hidden_state", output)
            if not isinstance(first, Tensor):
                raise ConfigError(f"distill.losses: the teacher's {name!r} gives a {type(first).__name__}, no tensor")
            self._heard[name] = first

        return keep


def check(names: Sequence[str], there: Sequence[str], whose: str) -> None:
    """Raises ConfigError."""
    for name in names:
        if name not in there:
            some = ", ".join(there[:12]) + (f" and {len(there) - 12} more" if len(there) > 12 else "")
            raise ConfigError(f"distill.losses: {whose} has no output {name!r}; it has {some}")


def linear_cka(a: Tensor, b: Tensor) -> float:
    """
    How alike two representations [N, ...] of the same samples are, from 0 to 1: neither scale nor rotation counts.

    Kornblith, Norouzi, Lee, Hinton, "Similarity of neural network representations revisited" (2019), in
    its form over samples: exact for any width. The estimate is biased upwards for few samples.
    """
    grams = []
    for x in (a, b):
        flat = x.flatten(1).double()
        flat = flat - flat.mean(0)
        grams.append(flat @ flat.T)
    one, two = grams
    alike = (one * two).sum() / (one.norm() * two.norm()).clamp(min=1e-30)
    return float(alike)


@torch.no_grad()
def alikeness(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """Linear CKA of every output of the student with every one of the teacher."""
    return {name: {other: linear_cka(a, b) for other, b in teacher.items()} for name, a in student.items()}
