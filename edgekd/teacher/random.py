"""A teacher that knows nothing: what is left of a gain with it does not come from the teacher's knowledge."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import torch
from safetensors.torch import save_file
from torch import nn

from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError
from edgekd.models import checkpoint, foreign
from edgekd.teacher.stages import RandomTeacher


def run(settings: RandomTeacher, inputs: Mapping[str, Artifact], work: Work) -> None:
    """
    Every layer's weights as its class makes them; the first batches set no statistics, it is in evaluation mode.

    Ojha et al., "What knowledge gets distilled in knowledge distillation?" (2023), [19], and Furlanello et al.,
    "Born-again neural networks" (2018), [223]: such a teacher is a control.
    """
    folder = inputs["teacher"].path
    about = foreign.described(folder)
    if about is not None and about.kind == "onnx":
        raise ConfigError("a random teacher: an ONNX file cannot be made anew with other weights; give a torch teacher")
    shutil.copytree(folder, work.out, dirs_exist_ok=True)
    if about is None:
        model = checkpoint.load(folder)
        forget(model, settings.seed)
        checkpoint.save(model, work.out)
    elif about.kind == "transformers":
        net = foreign.transformers_net(folder)
        forget(net, settings.seed)
        net.save_pretrained(work.out)  # type: ignore[operator]
    else:
        net = foreign.module_net(folder, about)
        forget(net, settings.seed)
        if about.weights is not None:
            (work.out / about.weights).unlink()
        save_file(net.state_dict(), work.out / "weights.safetensors")
        told = about.model_copy(update={"weights": "weights.safetensors"})
        (work.out / foreign.FILE).write_text(told.model_dump_json(indent=1), "utf-8")


def forget(net: nn.Module, seed: int) -> None:
    """
    In place: fresh weights for every module that knows how to make them; parameters of one that does not (class tokens,
    positions) are drawn as transformers do, from a normal distribution of deviation 0.02.
    """
    torch.manual_seed(seed)
    for module in net.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
            continue
        for parameter in module.parameters(recurse=False):
            nn.init.normal_(parameter, std=0.02)
