"""The models that measuring is tried on: a small conv net, MobileNetV2 at 224, a six-layer transformer. Untrained."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import helper

NAMES = ("small-conv", "mobilenet-v2-224", "transformer-6")


def make(name: str, folder: Path) -> Path:
    """The ONNX file of a model, made once."""
    path = folder / f"{name}.onnx"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        module, inputs, names = MAKERS[name]()
        module.apply(_alive)
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(), inputs, dynamo=True, opset_version=20, input_names=names, output_names=["logits"],
                verbose=False, optimize=True,
            )  # fmt: skip
        assert program is not None
        program.save(str(path))
    return path


def _alive(module: torch.nn.Module) -> None:
    """Weights that keep the size of what passes: from transformers' own, deep nets answer denormal numbers."""
    if isinstance(module, torch.nn.Conv2d):
        torch.nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")


def slower_graph(model: Path, share: float, folder: Path) -> Path:
    """
    A variant with more to do: a share of the convolutions and matrix products, from the middle on, is computed again
    with halved weights, and added to the first result.

    How much slower that is, is not known exactly: it is measured over all recorded processes.
    """
    import numpy as np
    from onnx import numpy_helper

    path = folder / f"{model.stem}-slower.onnx"
    graph = onnx.load(model)
    nodes = graph.graph.node
    convs = [n for n in nodes if n.op_type in ("Conv", "MatMul")]
    weights = {t.name: t for t in graph.graph.initializer}
    macs = [n for n in convs if len(n.input) > 1 and n.input[1] in weights]
    chosen = macs[len(macs) // 2 :][: max(1, round(share * len(macs)))]
    for number, node in enumerate(chosen):
        before, after = node.output[0], f"{node.output[0]}.again"
        twin = helper.make_node(node.op_type, node.input, [after], name=f"{node.name}.again")
        twin.attribute.extend(node.attribute)
        other = numpy_helper.to_array(weights[node.input[1]]) * np.float32(0.5)
        graph.graph.initializer.append(numpy_helper.from_array(other, f"{after}.w"))
        twin.input[1] = f"{after}.w"
        joined = f"{before}.joined"
        for user in nodes:
            user.input[:] = [joined if name == before else name for name in user.input]
        place = list(nodes).index(node) + 1
        nodes.insert(place, twin)
        nodes.insert(place + 1, helper.make_node("Add", [before, after], [joined], name=f"{after}.{number}"))
    onnx.save(graph, path)
    return path


def _small_conv() -> tuple[torch.nn.Module, tuple[Any, ...], list[str]]:
    layers: list[torch.nn.Module] = []
    channels = 3
    for width, stride in ((16, 1), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        layers += [torch.nn.Conv2d(channels, width, 3, stride, 1), torch.nn.ReLU()]
        channels = width
    layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(channels, 10)]
    return torch.nn.Sequential(*layers), (torch.zeros(1, 3, 32, 32),), ["pixel_values"]


def _mobilenet() -> tuple[torch.nn.Module, tuple[Any, ...], list[str]]:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    net = MobileNetV2ForImageClassification(MobileNetV2Config(image_size=224, num_labels=1000, tf_padding=False))
    return _Logits(net), (torch.zeros(1, 3, 224, 224),), ["pixel_values"]


def _resnet18() -> tuple[torch.nn.Module, tuple[Any, ...], list[str]]:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic", num_labels=1000
    )
    return _Logits(ResNetForImageClassification(config)), (torch.zeros(1, 3, 224, 224),), ["pixel_values"]


def _mobilenet_v1() -> tuple[torch.nn.Module, tuple[Any, ...], list[str]]:
    from transformers import MobileNetV1Config, MobileNetV1ForImageClassification

    config = MobileNetV1Config(depth_multiplier=0.25, image_size=96, num_labels=2, tf_padding=False, min_depth=8)
    return _Logits(MobileNetV1ForImageClassification(config)), (torch.zeros(1, 3, 96, 96),), ["pixel_values"]


def _vit() -> tuple[torch.nn.Module, tuple[Any, ...], list[str]]:
    """DeiT-tiny's shape."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768, num_labels=1000,
        attn_implementation="eager",
    )  # fmt: skip
    return _Logits(ViTForImageClassification(config)), (torch.zeros(1, 3, 224, 224),), ["pixel_values"]


def _odd() -> tuple[torch.nn.Module, tuple[Any, ...], list[str]]:
    """Channels that no kernel's blocks divide."""
    layers: list[torch.nn.Module] = []
    channels = 3
    for width, stride in ((13, 1), (13, 1), (29, 2), (29, 1), (57, 2), (57, 1)):
        layers += [torch.nn.Conv2d(channels, width, 3, stride, 1), torch.nn.ReLU()]
        channels = width
    layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(channels, 7)]
    return torch.nn.Sequential(*layers), (torch.zeros(1, 3, 48, 48),), ["pixel_values"]


def _transformer() -> tuple[torch.nn.Module, tuple[Any, ...], list[str]]:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    net = BertForSequenceClassification(config)
    ones = torch.ones(1, 32, dtype=torch.int64)
    return _Logits(net), (ones, ones.clone()), ["input_ids", "attention_mask"]  # one tensor twice is one input


class _Logits(torch.nn.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.net(*inputs, return_dict=False)[0]  # type: ignore[no-any-return]


MAKERS = {
    "small-conv": _small_conv,
    "mobilenet-v2-224": _mobilenet,
    "transformer-6": _transformer,
    "resnet18": _resnet18,
    "mobilenet-v1-025-96": _mobilenet_v1,
    "vit-tiny-224": _vit,
    "odd-channels": _odd,
}
