"""What the exporters for devices elsewhere are tried on: the digits net in a dialect, and one small net a family."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekd.data.signature import Signature, TensorIn, TensorOut
from edgekd.data.stages import Preprocess
from edgekd.deploy import reference
from edgekd.deploy.exporter import Deployable
from edgekd.deploy.given import float_answers
from edgekd.deploy.reference import Reference
from edgekd.engine.events import Progress, Silent
from edgekd.engine.stage import Work
from edgekd.hardware.dialect import Dialect
from edgekd.quant.onnx_ptq import quantise
from helpers import digits_net

SIGNATURE = Signature(
    inputs=(TensorIn(name="pixels", shape=("batch", 1, 28, 28), preprocess=Preprocess(mean=(0.0,), std=(1.0,))),),
    outputs=(TensorOut(name="logits"),),
)


def work(folder: Path) -> Work:
    for name in ("out", "scratch"):
        (folder / name).mkdir(exist_ok=True)
    return Work(folder / "out", folder / "scratch", Progress(Silent()))


def digits_hubs(folder: Path, samples: int = 64) -> Callable[[Dialect | None], Deployable]:
    """The digits net in a dialect, or in float for None, each made once."""
    x = digits_net.digits()[0][-samples:].transpose(0, 3, 1, 2).astype(np.float32) / 255
    model = digits_net.net(folder / "float.onnx")
    floats = float_answers(model, {"pixels": x})
    made: dict[Dialect | None, Deployable] = {}

    def hub(dialect: Dialect | None) -> Deployable:
        if dialect not in made:
            place = folder / str(len(made))
            place.mkdir()
            graph = model
            if dialect is not None:
                graph = place / "model.onnx"
                quantise(model, {"pixels": x}, dialect, graph)
            answers = float_answers(graph, {"pixels": x})
            reference.write(Reference({"pixels": x}, answers, None if dialect is None else floats), place)
            metadata = {"edgekd.model": "digits"}
            made[dialect] = Deployable(graph, place / reference.FILE, SIGNATURE, metadata, True)
        return made[dialect]

    return hub


def family(name: str, folder: Path) -> tuple[Path, dict[str, Any], Signature]:
    """A small untrained net of a family, inputs [16, ...] for it, and its signature; the batch is 1."""
    torch.manual_seed(0)
    net, inputs, names = FAMILIES[name]()
    net.apply(_alive)
    path = folder / f"{name}.onnx"
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Logits(net).eval(), inputs, dynamo=True, opset_version=20, input_names=names, output_names=["logits"],
            verbose=False, optimize=True,
        )  # fmt: skip
    assert program is not None
    program.save(str(path))
    random = np.random.default_rng(0)
    feeds = {
        one: (random.integers(0, 2, (16, *x.shape[1:])) if x.dtype == torch.int64 else _normal(random, x.shape[1:]))
        for one, x in zip(names, inputs, strict=True)
    }
    ins = tuple(
        TensorIn(name=one, dtype=str(feeds[one].dtype), layout="any", shape=tuple(x.shape))
        for one, x in zip(names, inputs, strict=True)
    )
    return path, feeds, Signature(inputs=ins, outputs=(TensorOut(name="logits"),))


def vit_of_digits(folder: Path, samples: int = 256) -> tuple[Path, dict[str, Any], Signature]:
    """A small ViT that learnt digits for some seconds, images that it has not seen, its signature; the batch is 1."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, num_labels=10,
        image_size=28, patch_size=7, num_channels=1, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    return _learnt(_Logits(ViTForImageClassification(config)), folder / "vit.onnx", samples, 2e-3)


def cnn_of_digits(folder: Path, samples: int = 256) -> tuple[Path, dict[str, Any], Signature]:
    """The same of a small residual net."""
    from edgekd.models import checkpoint
    from edgekd.models.shape import NetShape

    shape = NetShape(stem_width=16, stem_stride=2, widths=((16, 16), (32, 32)), strides=(1, 2))
    net = checkpoint.build(shape, [str(digit) for digit in range(10)], 1, 0).net
    return _learnt(net, folder / "cnn.onnx", samples, 1e-2)


def _learnt(net: torch.nn.Module, path: Path, samples: int, rate: float) -> tuple[Path, dict[str, Any], Signature]:
    torch.manual_seed(0)
    images, labels = (torch.from_numpy(part) for part in digits_net.digits())
    order = torch.randperm(len(images))
    x, y = images[order].permute(0, 3, 1, 2).float() / 255, labels[order].long()
    optimizer = torch.optim.AdamW(net.train().parameters(), rate)
    for rows in (part for _ in range(6) for part in torch.randperm(len(x) - samples).split(64)):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
    seen = x[-samples:]
    assert float((net.eval()(seen).argmax(1) == y[-samples:]).float().mean()) > 0.7
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net, (seen[:1],), dynamo=True, opset_version=20, input_names=["pixels"], output_names=["logits"],
            verbose=False,
        )  # fmt: skip
    assert program is not None
    program.save(str(path))
    described = TensorIn(name="pixels", layout="NCHW", shape=(1, 1, 28, 28))
    return path, {"pixels": seen.numpy()}, Signature(inputs=(described,), outputs=(TensorOut(name="logits"),))


def _alive(module: torch.nn.Module) -> None:
    """Weights that keep the size of what passes: from transformers' own, MobileNetV2 answers denormal numbers."""
    if isinstance(module, torch.nn.Conv2d):
        torch.nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")


def _normal(random: np.random.Generator, shape: torch.Size) -> Any:
    return random.standard_normal((16, *shape)).astype(np.float32)


class _Logits(torch.nn.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.net(*inputs, return_dict=False)[0]  # type: ignore[no-any-return]


def _resnet() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...], list[str]]:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_labels=10)
    return ResNetForImageClassification(config), (torch.zeros(1, 3, 32, 32),), ["pixel_values"]


def _mobilenet() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...], list[str]]:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    config = MobileNetV2Config(image_size=32, num_labels=10, depth_multiplier=0.25, min_depth=8, tf_padding=False)
    return MobileNetV2ForImageClassification(config), (torch.zeros(1, 3, 32, 32),), ["pixel_values"]


def _vit() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...], list[str]]:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, num_labels=10,
        image_size=32, patch_size=8, attn_implementation="eager",
    )  # fmt: skip
    return ViTForImageClassification(config), (torch.zeros(1, 3, 32, 32),), ["pixel_values"]


def _bert() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...], list[str]]:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    ones = torch.ones(1, 8, dtype=torch.int64)
    return BertForSequenceClassification(config), (ones, ones.clone()), ["input_ids", "attention_mask"]


FAMILIES = {"resnet": _resnet, "mobilenet-v2": _mobilenet, "vit": _vit, "bert": _bert}
