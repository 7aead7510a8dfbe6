"""
One teacher in three forms: the pretrained CIFAR-10 ResNet-56 as a torch module with its weights, as an ONNX file and as
a folder of transformers. Their answers, their accuracy on images that it has not seen, and what the check of a teacher
says with the preprocessing that it was trained with and with others.

    python benchmarks/teachers.py DATA [--folder teachers]
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import cifar
import numpy as np
import torch
from about import versions
from torch import Tensor

from edgekd.data.dataset import preprocess
from edgekd.data.stages import NpzSource, Preprocess, loading
from edgekd.engine.events import Silent
from edgekd.engine.executor import Builder
from edgekd.engine.store import Artifact, Store
from edgekd.errors import ConfigError
from edgekd.models import checkpoint
from edgekd.models.shape import NetShape
from edgekd.stats import proportion_interval
from edgekd.teacher.answers import answers_of
from edgekd.teacher.check import classes
from edgekd.teacher.given import inspect
from edgekd.teacher.stages import CHECK, LOAD, CheckTeacher, Given, LoadTeacher

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RIGHT = Preprocess(mean=cifar.MEAN, std=cifar.STD)
WRONG = {
    "right": RIGHT,
    "mean and deviation of 0.5": RIGHT.model_copy(update={"mean": (0.5,) * 3, "std": (0.5,) * 3}),
    "pixels from 0 to 1": RIGHT.model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3}),
    "pixels from 0 to 255": RIGHT.model_copy(update={"mean": (0.0,) * 3, "std": (1 / 255,) * 3}),
}
MODULE = """from cifar import BLOCKS, ResNet


def model():
    return ResNet(BLOCKS["resnet56"])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("teachers"))
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    clean = np.load(asked.data / "cifar10_clean.npz")
    np.savez(asked.folder / "clean.npz", images=clean["x"], labels=clean["y"].astype(np.int64))
    source = NpzSource(source="npz", path=str(asked.folder / "clean.npz"), labels=NAMES, val_per_class=90,
                       test_per_class=90)  # fmt: skip
    data = builder(asked.folder).call(*loading(source.pinned(), RIGHT), {})
    images, x = clean["x"], torch.from_numpy(preprocess(clean["x"], RIGHT))
    with torch.no_grad():
        known = torch.cat([cifar.net_of("resnet56", asked.data)(part) for part in x.split(100)])
    print(f"{versions()}\n\n| ResNet-56 as | largest difference of logits | % right of {len(x)} |\n|---|---|---|")
    for name, given in forms(asked.data, asked.folder).items():
        taken = builder(asked.folder).call(LOAD, LoadTeacher(given=given), {"data": data})
        answer = answers_of(taken.path)
        apart = float((torch.cat([answer(part) for part in x.split(100)]) - known).abs().max())
        right = int((classes(answer, images, RIGHT) == clean["y"]).sum())
        value, low, high = proportion_interval(right, len(x))
        print(f"| {name} | {apart:.1e} | {value:.2f} [{low:.2f}, {high:.2f}] |", flush=True)
    print("\n| preprocessing | what the check of the teacher says |\n|---|---|")
    for name, how in WRONG.items():
        print(f"| {name} | {checked(asked.folder, taken, data, how)} |", flush=True)


def forms(data: Path, folder: Path) -> dict[str, Given]:
    code, weights = folder / "resnet56.py", folder / "resnet56.safetensors"
    code.write_text(MODULE, "utf-8")
    shutil.copyfile(data / "cifar10_resnet56.safetensors", weights)
    as_folder(data, folder / "resnet56")
    onnx = cifar.as_onnx("resnet56", data, folder)
    return {
        "a torch module and safetensors": inspect(str(code), str(weights), "model", NAMES, None),
        "an ONNX file": inspect(str(onnx), None, "model", NAMES, None),
        "a folder of transformers": inspect(str(folder / "resnet56"), None, "model", (), None),
    }


def as_folder(data: Path, folder: Path) -> None:
    """As edgekd's residual CNN: shortcuts without weights become 1 x 1 convolutions that pick and pad."""
    net = cifar.net_of("resnet56", data)
    blocks = [block for stage in (net.layer1, net.layer2, net.layer3) for block in stage]  # type: ignore[union-attr]
    widths = tuple((block.conv1.out_channels, block.conv2.out_channels) for block in blocks)
    strides = tuple(block.conv1.stride[0] for block in blocks)
    made = checkpoint.build(NetShape(stem_width=16, stem_stride=1, widths=widths, strides=strides), NAMES, 3, seed=0)
    own = list(made.net.modules())
    theirs = [module for module in net.modules() if isinstance(module, (torch.nn.Conv2d, torch.nn.BatchNorm2d))]
    shortcuts = {id(m) for block in own if hasattr(block, "shortcut") for m in block.shortcut}
    plain = [m for m in own if isinstance(m, (torch.nn.Conv2d, torch.nn.BatchNorm2d)) and id(m) not in shortcuts]
    for mine, other in zip(plain, theirs, strict=True):
        mine.load_state_dict(other.state_dict())
    for block, other in zip([m for m in own if hasattr(m, "shortcut")], blocks, strict=True):
        if len(block.shortcut):
            pick(block.shortcut[0].weight.data, other.padded)
            block.shortcut[1].running_var.fill_(1 - block.shortcut[1].eps)
    (last,) = [m for m in own if isinstance(m, torch.nn.Linear)]
    last.load_state_dict(net.linear.state_dict())
    checkpoint.save(made.eval(), folder)


def pick(weight: Tensor, offset: int) -> None:
    weight.zero_()
    for channel in range(weight.shape[1]):
        weight[channel + offset, channel] = 1


def checked(folder: Path, teacher: Artifact, data: Artifact, how: Preprocess) -> str:
    said: list[str] = []

    class Said(Silent):
        def said(self, sentence: str) -> None:
            said.append(sentence)

    settings = CheckTeacher(preprocess=how, trust=False, images=900)
    try:
        Builder(Store(folder / "workspace"), Said()).call(CHECK, settings, {"teacher": teacher, "data": data})
    except ConfigError as error:
        said.append(str(error))
    return said[-1] if said else "good (as before)"


def builder(folder: Path) -> Builder:
    return Builder(Store(folder / "workspace"), Silent())


if __name__ == "__main__":
    main()
