"""From a ladder and a decision to the smaller net: who stays, who makes up for whom, and what norms see."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file

from edgekd.data.dataset import Dataset
from edgekd.data.stages import Preprocess
from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.store import Artifact, Store
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.prune.ladder import answers, some_images
from edgekd.prune.places import units_of
from edgekd.prune.stages import CUT, LADDER, Climb, Cut, Judged
from edgekd.prune.structure import pruned

HOW = Preprocess(mean=(0.13,), std=(0.31,))
SHAPE = NetShape(stem_width=8, stem_stride=2, widths=((16, 8), (16, 8), (24, 12), (8, 12)), strides=(1, 1, 2, 1))
STAYS = {"0": 8, "1": 0, "2": 16, "3": 8}  # of 16, 16, 24 and 8


def whole(folder: Path, digits: Artifact) -> Artifact:
    """With scales and statistics that are not 0 and 1."""
    model = checkpoint.build(SHAPE, Dataset(digits).labels, 1, 0)
    generator = torch.Generator().manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.weight.data.uniform_(0.5, 1.5, generator=generator)
            layer.bias.data.normal_(0, 0.3, generator=generator)
    checkpoint.save(model, folder)
    return Artifact("checkpoint", "whole", folder)


@pytest.mark.parametrize("judged", get_args(Judged))
def test_a_cut_keeps_the_last_of_the_ladders_order_and_its_readers_weights(
    judged: Judged, digits: Artifact, tmp_path: Path
) -> None:
    builder, net = Builder(Store(tmp_path / "store"), Silent()), whole(tmp_path / "net", digits)
    ladder = builder.call(
        LADDER, Climb(preprocess=HOW, judged=judged, images=64, threads=1), {"net": net, "data": digits}
    )
    rows = {row["place"]: row for row in ladder.json("ladder.json")["places"]}
    assert {place: row["rungs"] for place, row in rows.items()} == {
        "0": [16, 8, 0], "1": [16, 8, 0], "2": [24, 16, 8], "3": [8, 0],
    }  # fmt: skip
    for row in rows.values():
        assert row["errors"][0] == 0
        assert all(error > 0 for error in row["errors"][1:])
    (tmp_path / "choice").mkdir()
    (tmp_path / "choice" / "decision.json").write_text(json.dumps({"units": STAYS}), "utf-8")
    choice = Artifact("decision", "choice", tmp_path / "choice")
    cut = builder.call(CUT, Cut(preprocess=HOW, images=256, threads=1), {
        "net": net, "data": digits, "ladder": ladder, "choice": choice,
    })  # fmt: skip

    tensors = load_file(ladder.file("ladder.safetensors"))
    by_hand = deepcopy(checkpoint.load(net.path))
    with torch.no_grad():
        for units in units_of(SHAPE):
            for reader in units.readers if STAYS[units.name] else ():
                by_hand.net.get_parameter(f"{reader}.weight").copy_(
                    tensors[f"{units.name}.{STAYS[units.name]}.{reader}"]
                )
    kept = {place: sorted(tensors[f"{place}.order"].tolist()[-count:] if count else [])
            for place, count in STAYS.items()}  # fmt: skip
    wanted = pruned(by_hand, {place: torch.tensor(rows, dtype=torch.long) for place, rows in kept.items()})
    x = some_images(Dataset(digits), 256, 0, HOW)
    wanted.net.train()
    for module in wanted.net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    answers(wanted.net, x)
    torch.testing.assert_close(answers(checkpoint.load(cut.path).net.eval(), x), answers(wanted.net.eval(), x))
    about = cut.json("cut.json")
    assert (about["units"], about["of"]) == (STAYS, {"0": 16, "1": 16, "2": 24, "3": 8})
    assert about["after"]["macs"] < about["before"]["macs"]
