"""A residual CNN whose config names every layer's shape, so that a pruned or searched net stays in its class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from edgekd.models.shape import MODEL_TYPE


class ResidualCnnConfig(PretrainedConfig):  # type: ignore[misc]
    """
    `widths` holds one [inner, out] pair a block (the channels of its two convolutions), `strides` one number a
    block. A block whose shape changes has a 1x1 projection as its shortcut. With `dual_head` there is a second head,
    which the teacher taught; see `mixed_heads`.
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        in_channels: int = 1,
        stem_width: int = 16,
        stem_stride: int = 1,
        widths: Sequence[Sequence[int]] = ((16, 16), (32, 32), (64, 64)),
        strides: Sequence[int] = (1, 2, 2),
        dual_head: float | None = None,
        **kwargs: Any,
    ) -> None:
        if len(widths) != len(strides):
            raise ValueError(f"widths name {len(widths)} blocks and strides {len(strides)}; give one stride a block")
        self.in_channels = in_channels
        self.stem_width = stem_width
        self.stem_stride = stem_stride
        self.widths = [list(pair) for pair in widths]
        self.strides = list(strides)
        self.dual_head = dual_head
        super().__init__(**kwargs)


class Projection(nn.Conv2d):
    """
    A 1 x 1 convolution with a stride.

    Of fewer than eight channels, channels last, its gradient corrupts memory in oneDNN on AVX2 (torch 2.13): training
    then leaves pixels out first, which is the same. What is exported is the plain convolution.
    """

    def __init__(self, width_in: int, out: int, stride: int) -> None:
        super().__init__(width_in, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        step = self.stride[0]
        if step == 1 or self.in_channels >= 8 or not self.training or torch.compiler.is_exporting():
            return super().forward(x)
        return F.conv2d(x[:, :, ::step, ::step], self.weight)


class Block(nn.Module):
    """relu(shortcut(x) + bn(conv(relu(bn(conv(x)))))), as He et al., "Deep Residual Learning" (2016), figure 2."""

    def __init__(self, width_in: int, inner: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, inner, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if stride != 1 or width_in != out:
            self.shortcut = nn.Sequential(Projection(width_in, out, stride), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        # in place: what it overwrites nothing reads again, and memory is what these layers wait for
        inner = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(x), inplace=True)


class ResidualCnn(nn.Module):
    """Pixels [B, in_channels, H, W] to logits [B, C]."""

    def __init__(self, config: ResidualCnnConfig) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(config.in_channels, config.stem_width, 3, config.stem_stride, 1, bias=False),
            nn.BatchNorm2d(config.stem_width),
            nn.ReLU(inplace=True),
        )
        width = config.stem_width
        blocks = []
        for (inner, out), stride in zip(config.widths, config.strides, strict=True):
            blocks.append(Block(width, inner, out, stride))
            width = out
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width, config.num_labels)
        self.dual_head = config.dual_head
        if config.dual_head is not None:
            self.taught = nn.Linear(width, config.num_labels)

    def features(self, x: Tensor) -> Tensor:
        """The last feature map before pooling, [B, width, H', W']."""
        return self.blocks(self.stem(x))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        # a mean and no adaptive pooling with a flatten: that exports as nine shape operators
        return self.answer(self.features(x).mean((2, 3)))

    def answer(self, pooled: Tensor) -> Tensor:
        """Logits [B, C] of pooled features [B, width]."""
        own: Tensor = self.classifier(pooled)
        return own if self.dual_head is None else mixed_heads(own, self.taught(pooled), self.dual_head)


def mixed_heads(labels: Tensor, taught: Tensor, share: float) -> Tensor:
    """
    The log of share x softmax(labels) + (1 - share) x softmax(taught), all [B, C]: one answer, whose softmax is it.

    Kang et al., "Simple semi-supervised knowledge distillation via dual-head optimization" (2025), [165], whose second
    head has a temperature of its own here as well: 1.
    """
    return torch.lerp(taught.softmax(1), labels.softmax(1), share).clamp(min=1e-12).log()


class ResidualCnnForImageClassification(PreTrainedModel):  # type: ignore[misc]
    config_class = ResidualCnnConfig
    base_model_prefix = "net"
    main_input_name = "pixel_values"

    def __init__(self, config: ResidualCnnConfig) -> None:
        super().__init__(config)
        self.net = ResidualCnn(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
            module.reset_running_stats()
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **_: Any) -> ImageClassifierOutput:
        logits = self.net(pixel_values)
        loss = F.cross_entropy(logits, labels) if labels is not None else None
        return ImageClassifierOutput(loss=loss, logits=logits)


def register() -> None:
    """Let transformers' Auto classes load our folders."""
    AutoConfig.register(MODEL_TYPE, ResidualCnnConfig, exist_ok=True)
    AutoModelForImageClassification.register(ResidualCnnConfig, ResidualCnnForImageClassification, exist_ok=True)


def parameter_count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def mac_count(net: nn.Module, image: Sequence[int]) -> int:
    """Multiply-accumulates of one image [channels, H, W] through convolutions and linear layers."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.zeros(1, *image))
    return int(counter.get_total_flops()) // 2


register()  # once here, for whoever comes first: see edgekd/_auto.py
