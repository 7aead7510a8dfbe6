"""N of M holds for layers of any shape: after every step of any optimiser, loaded again, exported and quantised."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgekd.deploy.hub import to_onnx
from edgekd.hardware.dialect import Dialect
from edgekd.quant.onnx_ptq import quantise
from edgekd.sparse.holding import Masks, kept_zeros, sparsifiable
from edgekd.sparse.plans import Sparsity
from edgekd.sparse.proof import count, prove

OPTIMISERS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=1e-2, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9),
}
NETS = st.tuples(
    st.sampled_from([(2, 4), (1, 4), (4, 8), (3, 5)]), st.integers(1, 3), st.integers(1, 7), st.sampled_from([1, 3])
)


def net_of(group: int, groups: int, out: int, kernel: int) -> nn.Module:
    """A convolution of any number of outputs, one that its outputs do not fit, a linear layer."""
    wide = group * groups
    return nn.Sequential(
        nn.Conv2d(wide, wide, kernel, padding=kernel // 2), nn.ReLU(),
        nn.Conv2d(wide, out, kernel, padding=kernel // 2),
        nn.BatchNorm2d(out), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(out, 4),
    )  # fmt: skip


def at_most(net: nn.Module, plan: Sparsity) -> bool:
    kept, group = plan.group
    weights = sparsifiable(net, plan)[0].values()
    return all(bool(((w != 0).movedim(1, -1).reshape(-1, group).sum(1) <= kept).all()) for w in weights)


def stepped(net: nn.Module, masks: Masks, optimiser: str, x: Tensor, steps: int) -> Iterator[int]:
    made = OPTIMISERS[optimiser](net.parameters())
    masks.attach(made)
    for step in range(steps):
        made.zero_grad()
        net(x).square().mean().backward()
        made.step()
        yield step


@settings(max_examples=40, deadline=None)
@given(
    shape=NETS,
    optimiser=st.sampled_from(sorted(OPTIMISERS)),
    sr_ste=st.sampled_from([0.0, 2e-4]),
    seed=st.integers(0, 9),
)
def test_after_every_step_and_loaded_again(
    shape: tuple[tuple[int, int], int, int, int], optimiser: str, sr_ste: float, seed: int
) -> None:
    (kept, group), groups, out, kernel = shape
    plan = Sparsity(nm=f"{kept}:{group}", begin=0, end=0, sr_ste=sr_ste)
    torch.manual_seed(seed)
    net, x = net_of(group, groups, out, kernel), torch.randn(3, group * groups, 4, 4)
    masks = Masks(sparsifiable(net, plan)[0], plan, 4, net)
    assert at_most(net, plan)
    for _ in stepped(net, masks, optimiser, x, 4):
        assert at_most(net, plan)
    with tempfile.TemporaryDirectory() as folder:
        save_file(net.state_dict(), Path(folder) / "w.safetensors")
        again = net_of(group, groups, out, kernel)
        again.load_state_dict(load_file(Path(folder) / "w.safetensors"))
    assert at_most(again, plan)
    for _ in stepped(again, kept_zeros(again), optimiser, x, 3):  # another training, of what was sparse
        assert at_most(again, plan)


@pytest.mark.slow
@settings(max_examples=3, deadline=None)
@given(shape=NETS, optimiser=st.sampled_from(sorted(OPTIMISERS)))
def test_exported_and_quantised(shape: tuple[tuple[int, int], int, int, int], optimiser: str) -> None:
    """In the graph's own constants: floats as torch writes them, then integers."""
    (kept, group), groups, out, kernel = shape
    plan = Sparsity(nm=f"{kept}:{group}", begin=0, end=0)
    torch.manual_seed(0)
    net, x = net_of(group, groups, out, kernel), torch.randn(3, group * groups, 4, 4)
    masks = Masks(sparsifiable(net, plan)[0], plan, 3, net)
    assert len(list(stepped(net, masks, optimiser, x, 3))) == 3
    graph = to_onnx(net.eval(), x, "x", "y")
    prove(graph, plan)
    with tempfile.TemporaryDirectory() as folder:
        float_file, int8_file = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, float_file)
        quantise(
            float_file,
            {"x": x.numpy().astype(np.float32)},
            Dialect(activation="uint8-affine", reduced_range=True),
            int8_file,
        )
        rows = count(onnx.load(int8_file), plan)
    assert all(row.grouped and row.zeros * group >= row.weights * (group - kept) for row in rows)
    assert len(rows) == len(count(graph, plan))
