"""What the net loses with fewer units in one place: as far as its answers, with what is left made up for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgekd.data.dataset import Dataset, preprocess
from edgekd.data.stages import Preprocess
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import UnsupportedError
from edgekd.models import checkpoint, foreign
from edgekd.models.features import known, outputs
from edgekd.models.residual_cnn import ResidualCnn, ResidualCnnForImageClassification, mac_count
from edgekd.prune.obs import least_missed, made_up, remove
from edgekd.prune.places import Units, narrowed, rungs, units_of
from edgekd.prune.stages import Climb, Judged
from edgekd.sparse.inputs import columns_of

BATCH = 128
SCHEMA = 2
TIE = 0.01  # of the answers' change, beside shares of multiply-accumulates
Weights = Mapping[str, Tensor]  # by the layer


def run(settings: Climb, inputs: Mapping[str, Artifact], work: Work) -> None:
    """
    `ladder.json`: for each place the rungs and their errors, the mean square of what the logits change by, over the
    logits' own variance; `ladder.safetensors`: the order in which its units go, and the readers' weights at each rung.

    The order is ZipLM's (see `remove`); a rung is judged by what it does to the net's answers, of each place alone,
    others whole. With `trajectory` also by what it does on the way there, to every later stage, as OPTIN has it (Khaki
    and Plataniotis, "The need for speed: Pruning transformers with one recipe", 2024, equations 4 to 6, [88]); we take
    square errors over variances in the place of its manifold loss and KL, and the end of each stage for every layer.

    What is taught for long afterwards forgets what it lost at once, and is as good as it is large: `macs` takes the
    share of multiply-accumulates that a rung spares as what it loses, and a hundredth of the answers' change, which
    decides between equals.

    `scales` takes the batch norms' scales of the units that go, over their mean in all places of one size, and lets
    the smallest go first: for nets that were trained with `scale_l1`. Chu et al., "Group channel pruning and spatial
    attention distilling for object detection" (2022), [144], have a threshold by hand for each such group of layers;
    here the latency sets them, and readers make up for what goes.
    """
    torch.set_num_threads(settings.threads)
    model = own_net(inputs["net"]).eval()
    data = Dataset(inputs["data"])
    x = some_images(data, settings.images, settings.seed, settings.preprocess)
    shape = model.config.shape
    units = units_of(shape, streams=settings.streams)
    whole = said(model.net, x, settings.judged)
    usual = {size: fmean(float(scales_by_unit(model.net, each).mean()) for each in units if each.size == size)
             for size in {each.size for each in units} if settings.judged == "scales"}  # fmt: skip
    rows: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    for each in work.progress.over(units, len(units), "place"):
        stops = rungs(each, settings.step, shape)
        scales = scales_by_unit(model.net, each) if settings.judged == "scales" else None
        order, weights = removed(model.net, each, x, set(stops), scales)
        if scales is None:
            errors = [shift(model.net, each, weights[stays], stays, x, whole) for stays in stops]
        else:
            errors = gone(scales, stops, usual[each.size])
        if settings.judged == "macs":
            lost = spared(model, each, stops, data.image)
            errors = [share + TIE * error for share, error in zip(lost, errors, strict=True)]
        rows.append({"place": each.name, "size": each.size, "rungs": stops, "errors": errors})
        tensors[f"{each.name}.order"] = torch.tensor(order)
        for stays in stops:
            tensors |= {f"{each.name}.{stays}.{layer}": value for layer, value in weights[stays].items() if stays}
    (work.out / "ladder.json").write_text(json.dumps({"schema": SCHEMA, "places": rows}, indent=1), "utf-8")
    save_file({name: value.contiguous() for name, value in tensors.items()}, work.out / "ladder.safetensors")


def own_net(net: Artifact) -> ResidualCnnForImageClassification:
    """Raises UnsupportedError for a net of another family."""
    if foreign.described(net.path) is not None:
        raise UnsupportedError(
            "prune: units are removed from nets of edgekd's own family so far; distil one from this teacher "
            "(edgekd distill), or quantise it as it is (edgekd export)"
        )
    return checkpoint.load(net.path)


def some_images(data: Dataset, count: int, seed: int, settings: Preprocess) -> Tensor:
    """[n, C, H, W] of training images, drawn from the seed."""
    train = data.split("train")
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(train), generator=generator)[:count].sort().values.numpy()
    return torch.from_numpy(preprocess(train.images[rows], settings))


def spared(
    model: ResidualCnnForImageClassification, units: Units, stops: Sequence[int], image: Sequence[int]
) -> list[float]:
    """The share of the net's multiply-accumulates, of one image [C, H, W], that goes at each rung of a place."""
    labels, shape = tuple(model.config.id2label.values()), model.config.shape
    smaller = (checkpoint.build(narrowed(shape, {units.name: stays}), labels, image[0], seed=0) for stays in stops)
    macs = [mac_count(each.net, image) for each in smaller]
    return [1 - each / macs[0] for each in macs]


def gone(scales: Tensor, stops: Sequence[int], usual: float) -> list[float]:
    """The sum of the scales [units] that are gone where so many stay, the smallest first, in usual ones."""
    smallest = scales.sort().values
    return [float(smallest[: len(scales) - stays].sum()) / max(usual, 1e-12) for stays in stops]


def scales_by_unit(net: nn.Module, units: Units) -> Tensor:
    """[units]: the mean size of what batch norms multiply each by, over all that do."""
    each = [net.get_parameter(f"{norm}.weight").detach().abs().reshape(units.size, -1).mean(1) for norm in units.norms]
    return torch.stack(each).mean(0)


@torch.no_grad()
def answers(net: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([net(batch) for batch in x.split(BATCH)])


@torch.no_grad()
def said(net: ResidualCnn, x: Tensor, judged: Judged) -> dict[str, Tensor]:
    """The logits [n, K]; on the way to them what each stage hands on [n, C, H, W], and what is pooled [n, C]."""
    if judged != "trajectory":
        return {"logits": answers(net, x)}
    names = [name for name in known(net) if name.startswith("stage") or name == "pooled"]
    parts = [outputs(net, batch) for batch in x.split(BATCH)]
    return {name: torch.cat([part[name] for part in parts]) for name in (*names, "logits")}


@torch.no_grad()
def removed(
    net: nn.Module, units: Units, x: Tensor, stops: set[int], scales: Tensor | None = None
) -> tuple[Sequence[int], dict[int, Weights]]:
    """
    The order in which units go, and at each stop the weights of what reads them, by its name. With `scales` [units] the
    smallest go first, else those that are missed least.
    """
    seen = {name: moments(net, name, x) for name in units.readers}
    weights = {name: _weight(net, name) for name in units.readers}
    parts = {name: value.reshape(len(value), units.size, -1) for name, value in weights.items()}
    if len(units.readers) == 1 and scales is None:
        ((name, part),) = parts.items()
        removal = remove(part, seen[name], stops)
        return removal.order, {
            stays: {name: own.reshape(weights[name].shape)} for stays, own in removal.weights.items()
        }
    if scales is not None:
        order = scales.argsort(stable=True).tolist()
    else:
        order = least_missed([(parts[name], seen[name]) for name in units.readers])
    return order, {
        stays: {name: made_up(parts[name], seen[name], order[units.size - stays :]).reshape(weights[name].shape)
                for name in units.readers}
        for stays in stops
    }  # fmt: skip


def moments(net: nn.Module, name: str, x: Tensor) -> Tensor:
    """[D, D]: second moments of what one output of the layer reads, in the order of its weights, over these images."""
    layer: Any = net.get_submodule(name)
    found = torch.zeros(())

    def see(_layer: nn.Module, read: tuple[Tensor, ...]) -> None:
        nonlocal found
        flat = columns_of(layer, read[0]).T  # [D, samples x places]
        found = found + flat @ flat.T / len(x)

    hook = layer.register_forward_pre_hook(see)
    try:
        answers(net, x)
    finally:
        hook.remove()
    return found


def _weight(net: nn.Module, name: str) -> Tensor:
    return net.get_parameter(f"{name}.weight").detach()


def shift(
    net: ResidualCnn, units: Units, weights: Weights, stays: int, x: Tensor, whole: Mapping[str, Tensor]
) -> float:
    """The mean over what `whole` has of its change, over its own variance; what comes before the place has none."""
    if stays == units.size:
        return 0.0
    with _without(net, units, weights, whole=stays > 0):
        now = said(net, x, "answers" if len(whole) == 1 else "trajectory")
    changes = [float((now[name] - value).square().mean() / value.var()) for name, value in whole.items()]
    return fmean(changes)


@contextmanager
def _without(net: nn.Module, units: Units, weights: Weights, *, whole: bool) -> Iterator[None]:
    """The readers with other weights; without the block's branch where it is not `whole`."""
    new = {net.get_parameter(f"{name}.weight"): value for name, value in weights.items()}
    if not whole:
        for part in ("weight", "bias"):
            norm = net.get_parameter(f"{units.last}.{part}")
            new[norm] = torch.zeros_like(norm)
    kept = {parameter: parameter.detach().clone() for parameter in new}
    try:
        with torch.no_grad():
            for parameter, value in new.items():
                parameter.copy_(value)
        yield
    finally:
        with torch.no_grad():
            for parameter, before in kept.items():
                parameter.copy_(before)
