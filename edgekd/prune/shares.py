"""Nets of another family: which share of their channels may stay for a latency, by measurement, and the smaller net."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgekd.data import signature
from edgekd.data.dataset import Dataset, preprocess
from edgekd.data.feeds import feeds
from edgekd.data.signature import fixed_shape
from edgekd.data.stages import Preprocess
from edgekd.deploy import exporter, hub
from edgekd.deploy.exporter import Deployable
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import UnsupportedError
from edgekd.hardware.measure.compare import Model
from edgekd.hardware.remote.compare import observed
from edgekd.hardware.runtime import Tensor as Read
from edgekd.models import checkpoint, foreign
from edgekd.models.residual_cnn import mac_count, parameter_count
from edgekd.prune.choice import too_few, too_much
from edgekd.prune.groups import gradients_of, heads_of, needed, smaller, widths
from edgekd.prune.stages import CHOSEN, ChooseShare, CutGroups, Shares, Weighed
from edgekd.prune.staircase import WHOLE
from edgekd.quant.onnx_ptq import quantise
from edgekd.train.average import norms_anew

BATCH = 64
LARGEST = 0.9  # share of channels


class Shrinking:
    """One net, weighed once, in as many sizes as are asked for."""

    def __init__(self, folder: Path, data: Dataset, settings: Preprocess, by: Weighed, step: int, images: int) -> None:
        self.net, self.by, self.step = checkpoint.net_of(folder).eval(), by, step
        train = data.split("train")
        self.x = torch.from_numpy(preprocess(np.asarray(train.images[:images]), settings))
        self.kept = needed(self.net, self.x[:2], step)
        self.heads = heads_of(self.net, self.x[:2], self.kept)
        labels = torch.from_numpy(np.asarray(train.labels[:images])).long()
        self.gradients = gradients_of(self.net, self.x, labels, BATCH) if by == "taylor" else {}

    def of(self, share: float) -> nn.Module:
        return smaller(self.net, self.x[:2], share, self.step, self.by, self.kept, self.gradients, self.heads)


def run(settings: Shares, inputs: Mapping[str, Artifact], work: Work) -> None:
    """`shares.json`: of each share that goes, the time and the parameters that are left, of the whole net's."""
    torch.set_num_threads(settings.threads)
    data = Dataset(inputs["data"])
    whole = Shrinking(
        inputs["net"].path, data, settings.preprocess.outside, settings.by, settings.step, settings.images
    )
    nets = {WHOLE: whole.net}
    for share in np.linspace(0, LARGEST, settings.points + 1)[1:]:
        net = whole.of(float(share))
        if parameter_count(net) < parameter_count(list(nets.values())[-1]):  # of the others a step has it all
            nets[f"{share:.3f}"] = net
    with tempfile.TemporaryDirectory(dir=work.scratch) as folder:  # an attempt that failed leaves none
        models = {
            name: as_int8(net, data, settings, Path(folder) / name)
            for name, net in work.progress.over(nets.items(), len(nets), "net")
        }
        seen = observed(models, settings.measuring, [WHOLE], work.progress, settings.cpu, settings.there)
    points = [
        {"share": float(name), "measured": 1 / seen.speedup_over[WHOLE][name].value,
         "parameters": parameter_count(net) / parameter_count(whole.net)}
        for name, net in nets.items() if name != WHOLE
    ]  # fmt: skip
    stays = [name for name in whole.kept if name not in whole.heads]
    told = {"schema": 1, "kind": "measured", "by": settings.by, "points": points, "stays": stays,
            "noise": seen.noise.model_dump(mode="json")}  # fmt: skip
    (work.out / "shares.json").write_text(json.dumps(told, indent=1), "utf-8")


def run_choice(settings: ChooseShare, inputs: Mapping[str, Artifact], work: Work) -> None:
    """The least share with which a net was fast enough and small enough when it was measured."""
    points = inputs["shares"].json("shares.json")["points"]
    found = chosen_share(points, settings.ratio, settings.parameters)
    told = {"schema": 1, "by": settings.by, "ratio": settings.ratio, "predicted_ratio": found["measured"],
            "share": found["share"]}  # fmt: skip
    (work.out / "decision.json").write_text(json.dumps(told, indent=1), "utf-8")


def chosen_share(points: list[dict[str, float]], ratio: float, parameters: float) -> dict[str, float]:
    """Raises ConfigError where no net that was measured is so fast, or so small."""
    if not points:
        raise UnsupportedError("prune: in steps so large no channels of this net can go; ask for smaller ones (--step)")
    fast = [point for point in points if point["measured"] <= ratio]
    if not fast:
        raise too_much(ratio, min(point["measured"] for point in points))
    able = [point for point in fast if point["parameters"] <= parameters]
    if not able:
        raise too_few(parameters, min(point["parameters"] for point in fast))
    return min(able, key=lambda point: point["share"])


def run_cut(settings: CutGroups, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.threads)
    data, choice = Dataset(inputs["data"]), inputs["choice"].json("decision.json")
    outside = settings.preprocess
    whole = Shrinking(inputs["net"].path, data, outside, settings.by, settings.step, settings.weighed_by)
    net = whole.of(choice["share"])
    train = data.split("train")
    rows = np.random.default_rng(settings.seed).permutation(len(train))[: settings.images]
    anew(net, torch.from_numpy(preprocess(np.asarray(train.images[np.sort(rows)]), outside)))
    assert isinstance(net, foreign.Answering)
    foreign.save(net, inputs["net"].path, work.out)
    before, after = ({"parameters": parameter_count(each), "macs": mac_count(each, data.image)}
                     for each in (whole.net, net))  # fmt: skip
    about = {**choice, "units": widths(net), "of": widths(whole.net), "before": before, "after": after}
    (work.out / CHOSEN).write_text(json.dumps(about, indent=1), "utf-8")


@torch.no_grad()
def anew(net: nn.Module, x: Tensor) -> None:
    """In place: the statistics of batch norms are those of the smaller net; dropout and the like stay as they are."""
    with norms_anew(net) as norms:
        for norm in norms:
            norm.train()
        for batch in x.split(BATCH):
            net(batch)
    net.eval()


def as_int8(net: nn.Module, data: Dataset, settings: Shares, folder: Path) -> Model:
    """The net's int8 file by PTQ, as the runtime that counts reads it."""
    (folder / "hub").mkdir(parents=True)
    hub.write(net, data, settings.preprocess, folder / "hub")
    described = signature.read(folder / "hub")
    shown: dict[str, Any] = dict(feeds(data.some("train", settings.images), described.inputs))
    quantise(folder / "hub" / "model.onnx", shown, settings.runtime.dialect.on(settings.cpu), folder / "int8.onnx")
    deployable = Deployable(folder / "int8.onnx", folder / "none", described, {}, trained=False)
    made = exporter.find(settings.runtime.exporter).write(deployable, settings.runtime, folder)
    inputs = {spec.name: Read(spec.name, spec.dtype, fixed_shape(spec, 1)) for spec in made.signature.inputs}
    return Model(folder / made.entry, settings.runtime, inputs)
