"""The smaller net: as fast as asked, by what was measured, and its batch norms seen anew."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from edgekd.data.dataset import Dataset
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.models import checkpoint
from edgekd.models.residual_cnn import ResidualCnnForImageClassification, mac_count, parameter_count
from edgekd.prune.choice import Worth, by_norm, chosen, too_much
from edgekd.prune.ladder import BATCH, own_net, some_images
from edgekd.prune.places import Units, units_of
from edgekd.prune.stages import BY_LADDER, CHOSEN, Choose, Cut
from edgekd.prune.structure import pruned
from edgekd.train.average import norms_anew


def run_choice(settings: Choose, inputs: Mapping[str, Artifact], work: Work) -> None:
    """`decision.json`: how many units of each place stay."""
    model, worth = own_net(inputs["net"]), Worth.read(inputs["ladder"], inputs["staircase"])
    points = [(row["predicted"], row["measured"]) for row in inputs["path"].json("path.json")["points"]]
    if settings.ratio < min(measured for _, measured in points):
        raise too_much(settings.ratio, min(measured for _, measured in points))
    stays = chosen(worth, model, settings.by, predicted_for(points, settings.ratio), settings.parameters)
    assert stays is not None  # the path has one that is faster still
    told = {"schema": 1, "by": settings.by, "ratio": settings.ratio, "predicted_ratio": worth.ratio(stays),
            "units": stays}  # fmt: skip
    (work.out / "decision.json").write_text(json.dumps(told, indent=1), "utf-8")


def run(settings: Cut, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.threads)
    model, data = own_net(inputs["net"]), Dataset(inputs["data"])
    choice = inputs["choice"].json("decision.json")
    stays: dict[str, int] = choice["units"]
    tensors = load_file(inputs["ladder"].file("ladder.safetensors"))
    places = [units for units in units_of(model.config.shape, streams=True) if units.name in stays]
    if settings.by in BY_LADDER:
        order = {units.name: tensors[f"{units.name}.order"] for units in places}
        make_up(model.net, places, stays, tensors)
    else:
        order = {units.name: by_norm(model, units) for units in places}
    kept = {place: order[place][len(order[place]) - count :].sort().values for place, count in stays.items()}
    smaller = pruned(model, kept)
    see_norms(smaller, data, settings)
    checkpoint.save(smaller, work.out)
    before, after = (
        {"parameters": parameter_count(net), "macs": mac_count(net.net, data.image)} for net in (model, smaller)
    )
    about = {
        **choice, "units": {units.name: stays[units.name] for units in places},
        "of": {units.name: units.size for units in places}, "before": before, "after": after,
    }  # fmt: skip
    (work.out / CHOSEN).write_text(json.dumps(about, indent=1), "utf-8")
    (work.out / "shape.json").write_text(smaller.config.shape.model_dump_json(), "utf-8")


def predicted_for(points: list[tuple[float, float]], wanted: float) -> float:
    """
    What the staircase is to be asked for, so that `wanted` is measured: on the line between the two points (predicted,
    measured) around it, where what is measured does not rise with less that is predicted.
    """
    falling = [(1.0, 1.0), *sorted(points, reverse=True)]
    for (above, slower), (below, faster) in pairwise(falling):
        if faster <= wanted:
            share = 0.0 if slower <= faster else min(1.0, (slower - wanted) / (slower - faster))
            return above + max(0.0, share) * (below - above)
    return falling[-1][0]


@torch.no_grad()
def make_up(net: nn.Module, places: Sequence[Units], stays: Mapping[str, int], tensors: Mapping[str, Tensor]) -> None:
    """In place: the readers take over what the units that go said."""
    for units in places:
        count = stays[units.name]
        for layer in units.readers if count else ():
            net.get_parameter(f"{layer}.weight").copy_(tensors[f"{units.name}.{count}.{layer}"])


def see_norms(model: ResidualCnnForImageClassification, data: Dataset, settings: Cut) -> None:
    """In place: the statistics of batch norms are those of the smaller net."""
    x = some_images(data, settings.images, settings.seed, settings.preprocess)
    model.net.train()
    with norms_anew(model.net), torch.no_grad():
        for batch in x.split(BATCH):
            model.net(batch)
    model.net.eval()
