"""Channels of any torch module that go together, by torch-pruning's dependency graph (Fang et al. 2023, DepGraph)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from edgekd.deploy.hub import quiet
from edgekd.errors import UnsupportedError, first_line
from edgekd.prune.stages import Weighed

ROOTS = (nn.Conv2d, nn.Linear)
MOST = 0.9  # of a layer's channels that may go
Gradients = Mapping[str, Tensor]  # by parameter


def smaller(
    net: nn.Module, x: Tensor, share: float, step: int, by: Weighed, kept: Sequence[str], gradients: Gradients,
    heads: Mapping[str, int] | None = None,
) -> nn.Module:  # fmt: skip
    """
    A net of its own without a share of its channels, each layer's a multiple of `step`, and without the same share of
    its `heads`; `kept` are layers of which no channels go. x [B, ...] is what it answers.

    `taylor` and `magnitude` take the groups of least importance wherever they are, `uniform` the same share of each
    group, by magnitude. Heads are held against heads, channels against channels.
    """
    found = deepcopy(net)
    for name, parameter in found.named_parameters():
        parameter.grad = gradients[name].clone() if name in gradients else None
    importance = tp.importance.GroupTaylorImportance() if by == "taylor" else tp.importance.GroupMagnitudeImportance()
    if heads:
        _take_heads(found, x, heads, importance, share, evenly=by == "uniform")
    with quiet():
        tp.pruner.BasePruner(
            found, x, importance=importance, global_pruning=by != "uniform", pruning_ratio=share,
            max_pruning_ratio=MOST, round_to=step, ignored_layers=[found.get_submodule(name) for name in kept],
            root_module_types=list(ROOTS),
        ).step()  # fmt: skip
    found.zero_grad(set_to_none=True)
    return found


def needed(net: nn.Module, x: Tensor, step: int) -> list[str]:
    """
    Layers whose outputs all have to stay, found by trying: without some of them the net fails (its code counts on the
    width), or answers otherwise than if they were silent (its answer, parts of heads, what a layer norm reads).
    Raises UnsupportedError where that is all of them.
    """
    roots = [group[0].dep.target.name.split(" ")[0] for group in _graph(net, x).get_all_groups(root_module_types=ROOTS)]
    found = [name for name in roots if not _goes(net, x, name, range(1, 2 * step, 2))]
    if len(found) == len(roots):
        raise UnsupportedError(
            f"prune: {type(net).__name__}: its code counts on the width of every layer, or they are narrower than "
            f"{2 * step}: nothing of it can go; ask for smaller steps (--step), or distil another student from it"
        )
    return found


def heads_of(net: nn.Module, x: Tensor, kept: Sequence[str]) -> dict[str, int]:
    """
    Those of the layers that stay of whose outputs whole heads can go, and how many values a head has: as attention
    says it in transformers (`head_dim`), and as it turns out when one head is tried.
    """
    found = {}
    for name in kept:
        size = getattr(net.get_submodule(name.rpartition(".")[0]), "head_dim", None)
        if isinstance(size, int) and size > 0 and _goes(net, x, name, range(size, 2 * size)):
            found[name] = size
    return found


def _take_heads(
    net: nn.Module, x: Tensor, heads: Mapping[str, int], importance: Any, share: float, *, evenly: bool
) -> None:
    """
    In place: without a share of all heads, those of least importance; without that share of each layer's where they
    shrink `evenly`. Every layer keeps one.
    """
    graph = _graph(net, x)
    worth = {}
    for name, size in heads.items():
        layer = net.get_submodule(name)
        every = list(range(len(layer.weight)))  # type: ignore[arg-type]
        weighed = importance(graph.get_pruning_group(layer, tp.prune_linear_out_channels, every))
        worth[name] = weighed.view(-1, size).mean(1).tolist()
    for name, gone in least(worth, share, evenly=evenly).items():
        places = [head * heads[name] + place for head in gone for place in range(heads[name])]
        graph.get_pruning_group(net.get_submodule(name), tp.prune_linear_out_channels, places).prune()


def least(worth: Mapping[str, Sequence[float]], share: float, *, evenly: bool) -> dict[str, list[int]]:
    """Which heads go: a share of all, those of least worth, or `evenly` that share of each layer's; never the last."""
    if evenly:
        return {
            name: gone
            for name, own in worth.items()
            if (gone := _first({name: own}, round(share * len(own))).get(name))
        }
    return _first(worth, round(share * sum(map(len, worth.values()))))


def _first(worth: Mapping[str, Sequence[float]], count: int) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for _, name, head in sorted((value, name, head) for name, own in worth.items() for head, value in enumerate(own)):
        if sum(map(len, found.values())) < count and len(found.get(name, [])) < len(worth[name]) - 1:
            found.setdefault(name, []).append(head)
    return found


def gradients_of(net: nn.Module, x: Tensor, labels: Tensor, batch: int) -> dict[str, Tensor]:
    """Of the cross-entropy over all images; the net is left as it was, in evaluation mode."""
    net.eval().zero_grad(set_to_none=True)
    for some, wanted in zip(x.split(batch), labels.split(batch), strict=True):
        (nn.functional.cross_entropy(net(some), wanted, reduction="sum") / len(x)).backward()
    found = {name: value.grad.clone() for name, value in net.named_parameters() if value.grad is not None}
    net.zero_grad(set_to_none=True)
    return found


def widths(net: nn.Module) -> dict[str, int]:
    """Outputs of each convolution and linear layer."""
    return {name: len(layer.weight) for name, layer in net.named_modules() if isinstance(layer, ROOTS)}


def _graph(net: nn.Module, x: Tensor) -> Any:
    try:
        with quiet():  # it warns of parameters of a net's own, which are tried like all others
            return tp.DependencyGraph().build_dependency(net, x, verbose=False)
    except Exception as error:  # of a net of the person's it may be anything
        raise UnsupportedError(
            f"prune: torch-pruning cannot follow {type(net).__name__}: {first_line(error)}; distil another student of "
            "it (edgekd distill), or quantise it as it is (edgekd export)"
        ) from error


def _goes(net: nn.Module, x: Tensor, name: str, outputs: range) -> bool:
    """
    Whether the net without these outputs of the layer, and all that goes with them, answers as the one in which they
    are silent. Of channels every other one is tried: of heads, whose channels belong together, parts of two would go.
    """
    tried = deepcopy(net)
    layer: Any = tried.get_submodule(name)
    if len(layer.weight) < outputs.stop:
        return False
    try:
        graph, names = _graph(tried, x), {layer: name for name, layer in tried.named_modules()}
        function = tp.prune_conv_out_channels if isinstance(layer, nn.Conv2d) else tp.prune_linear_out_channels
        group = graph.get_pruning_group(layer, function, list(outputs))
        gone = {names[dep.target.module]: outputs for dep, outputs in group
                if graph.is_out_channel_pruning_fn(dep.handler) and dep.target.module in names}  # fmt: skip
        wanted = _silent(net, x, gone)
        group.prune()
        return alike(_silent(tried, x, {}), wanted, _silent(net, x, {}))
    except Exception:  # noqa: BLE001  whatever a person's own forward raises: this layer has to stay
        return False


def alike(found: Tensor, wanted: Tensor, whole: Tensor) -> bool:
    """As near as float32 is, by the size of the answers and by what silence changes of them."""
    if found.shape != wanted.shape:
        return False
    allowed = 1e-6 * whole.abs().max() + 1e-2 * (wanted - whole).abs().max()
    return bool((found - wanted).abs().max() <= allowed)


@torch.no_grad()
def _silent(net: nn.Module, x: Tensor, gone: Mapping[str, Sequence[int]]) -> Tensor:
    """What the net answers where these outputs of its layers are zero."""

    def quiet(outputs: Sequence[int]) -> Any:
        def hook(_layer: nn.Module, _read: Any, said: Tensor) -> Tensor:
            return said.index_fill(1 if said.ndim == 4 else -1, torch.tensor(list(outputs)), 0.0)

        return hook

    hooks = [net.get_submodule(name).register_forward_hook(quiet(outputs)) for name, outputs in gone.items()]
    try:
        found: Tensor = net(x)
        return found
    finally:
        for hook in hooks:
            hook.remove()
