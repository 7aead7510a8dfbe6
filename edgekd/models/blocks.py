"""The blocks that a net's shape may name; each knows its stride."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.models.shape import BlockKind, BlockShape


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

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.stride = shape.stride
        self.conv1 = _conv(shape.width_in, shape.inner, shape.kernel, shape.stride)
        self.bn1 = nn.BatchNorm2d(shape.inner)
        self.conv2 = _conv(shape.inner, shape.out, shape.kernel)
        self.bn2 = nn.BatchNorm2d(shape.out)
        self.shortcut = nn.Sequential()
        if shape.projects:
            self.shortcut = nn.Sequential(
                Projection(shape.width_in, shape.out, shape.stride), nn.BatchNorm2d(shape.out)
            )

    def forward(self, x: Tensor) -> Tensor:
        # in place: what it overwrites nothing reads again, and memory is what these layers wait for
        inner = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(x), inplace=True)


class Plain(nn.Module):
    """relu(bn(conv(x))), of which Simonyan and Zisserman, "Very deep convolutional networks" (2015), consist."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.stride = shape.stride
        self.conv = _conv(shape.width_in, shape.out, shape.kernel, shape.stride)
        self.bn = nn.BatchNorm2d(shape.out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Skip(Plain):
    """x + relu(bn(conv(x))): half of a residual block, one convolution an addition."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Inverted(nn.Module):
    """
    1 x 1 to `inner` channels, one filter a channel, 1 x 1 to `out`; the input is added where the shapes allow it.

    Sandler et al., "MobileNetV2: Inverted residuals and linear bottlenecks" (2018), section 3.3, with ReLU for ReLU6:
    the runtimes here clip to the range of the scale either way.
    """

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.stride = shape.stride
        self.adds = shape.adds
        self.expand = nn.Sequential()
        if shape.inner != shape.width_in:
            self.expand = nn.Sequential(*_conv_norm(shape.width_in, shape.inner), nn.ReLU(inplace=True))
        middle = _conv(shape.inner, shape.inner, shape.kernel, shape.stride, groups=shape.inner)
        self.depthwise = nn.Sequential(middle, nn.BatchNorm2d(shape.inner), nn.ReLU(inplace=True))
        self.project = nn.Sequential(*_conv_norm(shape.inner, shape.out))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.adds else out


class Encoder(nn.Module):
    """
    Positions, attention over all pixels, and two 1 x 1 convolutions, each added to what goes in.

    Li et al., "UniFormer: Unified transformer for efficient spatiotemporal representation learning" (2022), equation 1,
    with attention everywhere. We depart as Graham et al., "LeViT: A Vision Transformer in ConvNet's clothing" (2021),
    section 4: batch norms behind convolutions in place of layer norms before linear layers, and ReLU in place of GELU,
    so that every product is one integer kernel and nothing is transposed on the way in.
    """

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        width, attends = shape.out, shape.attends
        self.stride, self.head_width = shape.stride, shape.head_width
        self.position = nn.Sequential(_conv(width, width, shape.kernel, groups=width), nn.BatchNorm2d(width))
        self.query, self.key, self.value = (nn.Sequential(*_conv_norm(width, attends)) for _ in range(3))
        self.join = nn.Sequential(*_conv_norm(attends, width))
        widen, narrow = _conv_norm(width, shape.inner), _conv_norm(shape.inner, width)
        self.mlp = nn.Sequential(*widen, nn.ReLU(inplace=True), *narrow)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.position(x)
        x = x + self.join(self.attention(x))
        out: Tensor = self.mlp(x)
        return x + out

    def attention(self, x: Tensor) -> Tensor:
        """[B, C, H, W]; of each head [head_width, N] @ softmax over keys of [N keys, N queries]."""
        rows, columns = x.shape[2:]
        made = [layer(x) for layer in (self.query, self.key, self.value)]
        width = made[0].shape[1]
        heads = (-1, width // self.head_width, self.head_width, rows * columns)
        query, key, value = (each.reshape(heads) for each in made)
        alike = (key.transpose(2, 3) @ query) * self.head_width**-0.5
        out: Tensor = (value @ alike.softmax(2)).reshape(-1, width, rows, columns)
        return out


BLOCKS: Mapping[BlockKind, Callable[[BlockShape], nn.Module]] = {
    "residual": Block,
    "plain": Plain,
    "skip": Skip,
    "inverted": Inverted,
    "encoder": Encoder,
}


def _conv(width_in: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width_in, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)


def _conv_norm(width_in: int, out: int) -> tuple[nn.Module, nn.Module]:
    return _conv(width_in, out, 1), nn.BatchNorm2d(out)
