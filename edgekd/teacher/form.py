"""In which form a teacher answers fastest on this machine without answering worse."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping

import torch

from edgekd.data.dataset import Dataset
from edgekd.deploy.evaluate import correct
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.stats import paired_difference
from edgekd.teacher.answers import answers_of, exported_answers
from edgekd.teacher.stages import ChooseForm, MeasureRates
from edgekd.train.batches import normalised, pixels

TORCH, FLOAT = "torch", "float"


def run_rates(settings: MeasureRates, inputs: Mapping[str, Artifact], work: Work) -> None:
    """Images a second of each form: the median over rounds, in turn, after one that is not counted."""
    torch.set_num_threads(settings.threads)
    samples = Dataset(inputs["data"]).split("train")
    rows = torch.arange(min(settings.images, len(samples)))
    x = normalised(pixels(samples, rows), settings.preprocess).contiguous(memory_format=torch.channels_last)
    forms = {TORCH: answers_of(inputs["teacher"].path)} | {
        name.removeprefix("model."): exported_answers(model, settings.threads)[0]
        for name, model in inputs.items()
        if name.startswith("model.")
    }
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for counted in range(-1, settings.rounds):
        for name, answer in forms.items():
            start = time.perf_counter()
            answer(x)
            if counted >= 0:
                seconds[name].append(time.perf_counter() - start)
    rates = {name: len(rows) / statistics.median(row) for name, row in seconds.items()}
    told = {"schema": 1, "images_per_s": rates, "threads": settings.threads}
    (work.out / "rates.json").write_text(json.dumps(told, indent=1), "utf-8")


def run_form(settings: ChooseForm, inputs: Mapping[str, Artifact], work: Work) -> None:
    """The fastest of those that are not worse on val than the float file by more than the margin."""
    rates = dict(inputs["rates"].json("rates.json")["images_per_s"])
    dropped = {}
    for name in [name for name in rates if name not in (TORCH, FLOAT)]:
        change = paired_difference(correct(inputs[f"val.{FLOAT}"]), correct(inputs[f"val.{name}"]))
        dropped[name] = change.value
        if -change.value > settings.margin_points:
            del rates[name]
    form = max(rates, key=rates.__getitem__)
    told = {"schema": 1, "form": form, "change_points": dropped, "margin_points": settings.margin_points}
    (work.out / "decision.json").write_text(json.dumps(told, indent=1), "utf-8")
