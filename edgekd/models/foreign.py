"""Nets that are not edgekd's own: transformers' image classifiers, and modules from a person's file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageClassification

from edgekd.engine.code import member, run_file
from edgekd.errors import ConfigError, first_line
from edgekd.models import structure
from edgekd.models.shape import FOREIGN
from edgekd.settings import Settings

FILE = FOREIGN
ONNX = "model.onnx"
CODE = "model.py"
COUNTERS = "num_batches_tracked"  # of batch norms: many a file lacks them, and no answer depends on them


class Foreign(Settings):
    """
    What a checkpoint's folder holds that is not edgekd's own; `order` picks the data's classes of its answers, None
    where it does not name them: they are taken as they come.
    """

    schema_version: Literal[1] = 1
    kind: Literal["transformers", "module", "onnx", "pool"]
    order: tuple[int, ...] | None
    function: str = "model"
    code_sha256: str | None = None
    weights: str | None = None
    shares: tuple[float, ...] = ()  # of a pool: each member's, whose folders are 0, 1, ...


class Answering(nn.Module):
    """Any net as one from x [B, C, H, W] to logits [B, K] of the data's classes, in their order."""

    def __init__(self, net: nn.Module, order: tuple[int, ...] | None) -> None:
        super().__init__()
        self.net = net
        self.order = None if order is None else list(order)

    def forward(self, x: Tensor) -> Tensor:
        answer = self.net(x)
        logits: Tensor = getattr(answer, "logits", answer)
        return logits if self.order is None else logits[:, self.order]


def described(folder: Path) -> Foreign | None:
    """None for a checkpoint of edgekd's own."""
    path = folder / FILE
    return Foreign.model_validate_json(path.read_text("utf-8")) if path.is_file() else None


def net_of(folder: Path, about: Foreign) -> Answering:
    """The net, in evaluation mode. Raises ConfigError for an ONNX file and a pool, which are none."""
    if about.kind == "pool":
        raise ConfigError("teacher.pool: several teachers give logits alone; what needs layers takes one teacher")
    if about.kind == "onnx":
        raise ConfigError("teacher.from: an ONNX file gives logits alone; what needs its layers takes a torch teacher")
    net = transformers_net(folder) if about.kind == "transformers" else module_net(folder, about)
    return Answering(net, about.order).eval()


def transformers_net(folder: Path) -> nn.Module:
    """Raises ValueError where the weights are not those of its config, all of them and no others."""
    if (folder / structure.FILE).is_file():
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        made = reshaped(AutoModelForImageClassification.from_config(config, dtype=torch.float32), folder)
        fill(made, folder / "model.safetensors")
        return made
    net, told = AutoModelForImageClassification.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, output_loading_info=True, dtype=torch.float32
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if told[problem]:
            names = ", ".join(sorted(map(str, told[problem]))[:3])
            raise ValueError(f"{problem.replace('_', ' ')} in its weights: {names}")
    return net  # type: ignore[no-any-return]


def module_net(folder: Path, about: Foreign) -> nn.Module:
    """What the function of the copied file makes, filled with the weights. Raises ConfigError."""
    made = member(run_file(folder / CODE, about.code_sha256), about.function, "teacher.function")()
    if not isinstance(made, nn.Module):
        raise ConfigError(f"teacher.function: {about.function}() gives a {type(made).__name__}, and no torch module")
    made = reshaped(made, folder)
    if about.weights is not None:
        fill(made, folder / about.weights)
    return made


def reshaped(net: nn.Module, folder: Path) -> nn.Module:
    """In place, where the folder says that layers are of other sizes than its code or config makes them."""
    if (folder / structure.FILE).is_file():
        told = (folder / structure.FILE).read_text("utf-8")
        structure.reshape(net, structure.Structure.model_validate_json(told))
    return net


def save(model: Answering, source: Path, out: Path) -> None:
    """A checkpoint as `source` is one, of layers of its own sizes: the same code or config, and these weights."""
    about = described(source)
    assert about is not None
    code, weights = (CODE, "weights.safetensors") if about.kind == "module" else ("config.json", None)
    shutil.copyfile(source / code, out / code)
    state = {name: value.detach().clone().contiguous() for name, value in model.net.state_dict().items()}
    save_file(state, out / (weights or "model.safetensors"))
    (out / FILE).write_text(about.model_copy(update={"weights": weights}).model_dump_json(indent=1), "utf-8")
    (out / structure.FILE).write_text(structure.structure_of(model.net).model_dump_json(indent=1), "utf-8")


def fill(net: nn.Module, path: Path) -> None:
    """In place. Raises ConfigError where the weights are not those of the net, all of them and no others."""
    state: Any
    try:
        safe = path.suffix == ".safetensors"
        state = load_file(path) if safe else torch.load(path, "cpu", weights_only=True)  # noqa: TID251  a person's file
    except Exception as error:
        raise ConfigError(
            f"teacher.weights: {path.name} is no file of tensors that can be read safely: {first_line(error)}"
        ) from error
    state = state.get("state_dict", state)  # as training scripts wrap it
    own = {name: value for name, value in net.state_dict().items() if name in state or not name.endswith(COUNTERS)}
    for what, names in (
        ("lacks", own.keys() - state.keys()),
        ("has in excess", state.keys() - own.keys()),
    ):
        if names:
            raise ConfigError(f"teacher.weights: {path.name} {what} {_few(names)}; are they of this module?")
    for name, value in own.items():
        if value.shape != state[name].shape:
            raise ConfigError(
                f"teacher.weights: {name} is {list(state[name].shape)} in {path.name}, the module has "
                f"{list(value.shape)}"
            )
    net.load_state_dict(state, strict=False)  # all but counters is there: that was seen to


def _few(names: set[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
