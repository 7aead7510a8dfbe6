"""A residual CNN whose config names every layer's shape, so that a pruned or searched net stays in its class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from edgekd.models.blocks import BLOCKS
from edgekd.models.shape import MODEL_TYPE, NetShape, padding, shape_of


class ResidualCnnConfig(PretrainedConfig):  # type: ignore[misc]
    """
    `widths` holds one [inner, out] pair a block, `strides` one number, `kinds` and `kernels` what and how large it is:
    see NetShape. A residual block whose shape changes has a 1x1 projection as its shortcut. With `dual_head` there is a
    second head, which the teacher taught; see `mixed_heads`.
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        in_channels: int = 1,
        stem_width: int = 16,
        stem_stride: int = 1,
        stem_kernel: int = 3,
        widths: Sequence[Sequence[int]] = ((16, 16), (32, 32), (64, 64)),
        strides: Sequence[int] = (1, 2, 2),
        kinds: Sequence[str] = (),
        kernels: Sequence[int] = (),
        head_width: int = 32,
        heads: Sequence[int] = (),
        dual_head: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.in_channels = in_channels
        self.stem_width = stem_width
        self.stem_stride = stem_stride
        self.stem_kernel = stem_kernel
        self.widths = [list(pair) for pair in widths]
        self.strides = list(strides)
        self.kinds = list(kinds)
        self.kernels = list(kernels)
        self.head_width = head_width
        self.heads = list(heads)
        self.dual_head = dual_head
        _ = self.shape  # which says what is wrong with it
        super().__init__(**kwargs)

    @property
    def shape(self) -> NetShape:
        return shape_of({name: getattr(self, name) for name in NetShape.model_fields})


class ResidualCnn(nn.Module):
    """Pixels [B, in_channels, H, W] to logits [B, C]."""

    def __init__(self, config: ResidualCnnConfig) -> None:
        super().__init__()
        shape = config.shape
        kernel, stride = shape.stem_kernel, shape.stem_stride
        self.stem = nn.Sequential(
            nn.Conv2d(config.in_channels, shape.stem_width, kernel, stride, padding(kernel, stride), bias=False),
            nn.BatchNorm2d(shape.stem_width),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential(*(BLOCKS[block.kind](block) for block in shape.blocks))
        width = shape.blocks[-1].out if shape.blocks else shape.stem_width
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
    """Multiply-accumulates of one image [channels, H, W]: convolutions, linear layers, products of attention."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.zeros(1, *image))
    return int(counter.get_total_flops()) // 2


register()  # once here, for whoever comes first: see edgekd/_auto.py
