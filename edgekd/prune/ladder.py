"""What the net loses with fewer units in one block: as far as its answers, with what is left made up for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.data.dataset import Dataset, preprocess
from edgekd.data.stages import Preprocess
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import UnsupportedError
from edgekd.models import checkpoint, foreign
from edgekd.models.residual_cnn import ResidualCnnForImageClassification
from edgekd.prune.obs import Removal, remove
from edgekd.prune.stages import Climb
from edgekd.prune.structure import PARTS, Units, rungs, units_of

BATCH = 128
SCHEMA = 1


def run(settings: Climb, inputs: Mapping[str, Artifact], work: Work) -> None:
    """
    `ladder.json`: for each block the rungs and their errors, the mean square of what the logits change by, over the
    logits' own variance; `ladder.safetensors`: the order in which its units go, and the reader's weights at each rung.

    The order is ZipLM's (see `remove`); a rung is judged by what it does to the net's answers, as in OPTIN (Khaki and
    Plataniotis, "The need for speed: Pruning transformers with one recipe", 2024, section 3.2), whose trajectory ends
    there: of each block alone, others whole.
    """
    torch.set_num_threads(settings.threads)
    model = own_net(inputs["net"]).eval()
    data = Dataset(inputs["data"])
    x = some_images(data, settings.images, settings.seed, settings.preprocess)
    shape = model.config.shape
    units = units_of(shape)
    logits = answers(model.net, x)
    spread = float(logits.var())
    rows: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    for each in work.progress.over(units, len(units), "block"):
        stops = rungs(each, settings.step, shape)
        removal = removed(model, each, x, set(stops))
        errors = [_error(model, each, removal, stays, x, logits) / spread for stays in stops]
        rows.append({"block": each.block, "size": each.size, "rungs": stops, "errors": errors})
        tensors[f"{each.block}.order"] = torch.tensor(removal.order)
        tensors |= {f"{each.block}.{stays}": removal.weights[stays].contiguous() for stays in stops if stays}
    (work.out / "ladder.json").write_text(json.dumps({"schema": SCHEMA, "blocks": rows}, indent=1), "utf-8")
    save_file(tensors, work.out / "ladder.safetensors")


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


@torch.no_grad()
def answers(net: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([net(batch) for batch in x.split(BATCH)])


@torch.no_grad()
def removed(model: ResidualCnnForImageClassification, units: Units, x: Tensor, stops: set[int]) -> Removal:
    """Of one block, by the second moments of what its reader reads of these images."""
    reader: Any = _reader(model, units)
    found = torch.zeros(())

    def see(_layer: nn.Module, read: tuple[Tensor, ...]) -> None:
        nonlocal found
        columns = F.unfold(read[0], reader.kernel_size, reader.dilation, reader.padding, reader.stride)
        flat = columns.transpose(0, 1).flatten(1)  # [C k k, samples x places]
        found = found + flat @ flat.T / len(x)

    hook = reader.register_forward_pre_hook(see)
    try:
        answers(model.net, x)
    finally:
        hook.remove()
    return remove(reader.weight.detach().flatten(2), found, stops)


def _error(
    model: ResidualCnnForImageClassification, units: Units, removal: Removal, stays: int, x: Tensor, logits: Tensor
) -> float:
    if stays == units.size:
        return 0.0
    with _without(model, units, removal.weights[stays], whole=stays > 0):
        return float((answers(model.net, x) - logits).square().mean())


@contextmanager
def _without(model: ResidualCnnForImageClassification, units: Units, weight: Tensor, *, whole: bool) -> Iterator[None]:
    """The reader with other weights; without the block's branch where it is not `whole`."""
    reader: Any = _reader(model, units)
    last: Any = model.net.blocks.get_submodule(f"{units.block}.{PARTS[units.kind].last}")
    kept = [tensor.detach().clone() for tensor in (reader.weight, last.weight, last.bias)]
    try:
        with torch.no_grad():
            reader.weight.copy_(weight.reshape(reader.weight.shape))
            if not whole:
                last.weight.zero_()
                last.bias.zero_()
        yield
    finally:
        with torch.no_grad():
            for tensor, before in zip((reader.weight, last.weight, last.bias), kept, strict=True):
                tensor.copy_(before)


def _reader(model: ResidualCnnForImageClassification, units: Units) -> nn.Module:
    return model.net.blocks.get_submodule(f"{units.block}.{PARTS[units.kind].reader}")
