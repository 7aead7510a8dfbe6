"""AutoDistil as stages: a supernet learns, all its sub-networks are scored, some are measured, one is taken out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from edgekd.budget import TEACHER
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError
from edgekd.hardware.measure import result
from edgekd.text import folders, supernet, tokens, truncate
from edgekd.text.making import LOG, TARGETS
from edgekd.text.shape import EncoderShape
from edgekd.text.stages import ChooseSubnet, ScoreSubnets, TakeSubnet, TrainSupernet
from edgekd.text.supernet import Scored
from edgekd.text.tokens import Tokens

FILE = "scored.json"


def run_train(settings: TrainSupernet, inputs: Mapping[str, Artifact], work: Work) -> None:
    torch.set_num_threads(settings.search.train.threads)
    folder = inputs["model"].path
    teacher, (learnt, _), (targets, _) = folders.load(folder), *_parted(inputs, settings.search.held_out)
    whole, band = supernet.supernet_of(teacher, settings.search, truncate.by_taylor(teacher.net, learnt))
    supernet.train(whole, band, learnt, targets, settings.search, work.scratch, work.progress, teacher)
    folders.save(whole, work.out, folder)


def run_score(settings: ScoreSubnets, inputs: Mapping[str, Artifact], work: Work) -> None:
    """Every one of them, by its loss on texts that none has learnt."""
    torch.set_num_threads(settings.threads)
    teacher, whole = (folders.load(inputs[name].path) for name in ("model", "supernet"))
    _, band = supernet.supernet_of(teacher, settings.search, truncate.by_magnitude(teacher.net))
    (_, held), (_, targets) = _parted(inputs, settings.search.held_out)
    scored = supernet.score(whole, band, held, targets, settings.search, teacher, work.progress)
    told = [one._asdict() | {"shape": one.shape.model_dump(mode="json")} for one in scored]
    kept = front(scored, settings.measured)
    (work.out / FILE).write_text(json.dumps({"schema": 1, "scored": told, "front": kept}), "utf-8")
    work.progress.say(f"{len(scored)} sub-networks, of which {len(kept)} are measured")


def _parted(inputs: Mapping[str, Artifact], held: int) -> tuple[tuple[Tokens, Tokens], tuple[Tensor, Tensor]]:
    """Texts that sub-networks learn and those that they are scored by, and what the teacher says of both."""
    made, targets = tokens.load(inputs["tokens"].path), load_file(inputs["targets"].file(TARGETS))["targets"]
    if len(made) < 2 * held:
        raise ConfigError(f"search.held_out: {held} of {len(made)} texts leave too few to learn; hold out fewer")
    return (made.only(range(held, len(made))), made.only(range(held))), (targets[held:], targets[:held])


def front(scored: Sequence[Scored], most: int) -> list[int]:
    """Numbers of those that none beats in loss for as few MACs, at most so many, evenly from the least to the most."""
    order = sorted(range(len(scored)), key=lambda n: (scored[n].macs, scored[n].loss))
    kept: list[int] = []
    for number in order:
        if not kept or scored[number].loss < scored[kept[-1]].loss:
            kept.append(number)
    if len(kept) <= most:
        return kept
    return [kept[round(n * (len(kept) - 1) / max(1, most - 1))] for n in range(most)]


def run_take(settings: TakeSubnet, inputs: Mapping[str, Artifact], work: Work) -> None:
    """The `number`-th of those that are measured, as it is within its supernet: it is not trained again."""
    folder, told = inputs["supernet"].path, inputs["scored"].json(FILE)
    one = told["scored"][told["front"][settings.number]]
    shape = EncoderShape.model_validate_json(json.dumps(one["shape"]))
    folders.save(supernet.extract(folders.load(folder), shape), work.out, folder)
    log: dict[str, Any] = {"sub_networks": len(told["scored"]), "measured": len(told["front"]), "taken": one}
    (work.out / LOG).write_text(json.dumps({"schema": 1, "training": {"supernet": log}}), "utf-8")


def run_choose(settings: ChooseSubnet, inputs: Mapping[str, Artifact], work: Work) -> None:
    told = inputs["scored"].json(FILE)
    losses = [told["scored"][number]["loss"] for number in told["front"]]
    faster = result.read(inputs["comparison"]).speedup_over[TEACHER]
    chosen = best(losses, [faster[f"sub-{number}"].value for number in range(len(losses))], settings.speedup)
    (work.out / "decision.json").write_text(json.dumps({"schema": 1, "number": chosen}), "utf-8")


def best(losses: Sequence[float], faster: Sequence[float], least: float) -> int:
    """The least loss among those so many times as fast as the teacher; the fastest where none is."""
    kept = [number for number, times in enumerate(faster) if times >= least]
    if kept:
        return min(kept, key=lambda number: losses[number])
    return max(range(len(faster)), key=lambda number: faster[number])
