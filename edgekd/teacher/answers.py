"""What a teacher answers, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgekd.errors import ConfigError
from edgekd.hardware.runtimes.onnxruntime import OnnxRuntimeSession
from edgekd.hardware.specs import plain_onnxruntime
from edgekd.models import checkpoint, foreign

Answers = Callable[[Tensor], Tensor]  # of x [B, C, H, W]: logits [B, K]


def answers_of(folder: Path) -> Answers:
    """Of a teacher's checkpoint: torch's answers without gradients, or ONNX Runtime's."""
    about = foreign.described(folder)
    if about is not None and about.kind == "onnx":
        return _of_onnx(folder / foreign.ONNX)
    net = checkpoint.net_of(folder)
    checkpoint.channels_last(net)

    def answer(x: Tensor) -> Tensor:
        with torch.no_grad():
            return net(x)  # type: ignore[no-any-return]

    return answer


def _of_onnx(path: Path) -> Answers:
    session = OnnxRuntimeSession(path, plain_onnxruntime())
    inputs = session.describe().inputs
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ConfigError(f"teacher.from: reads {', '.join(map(str, inputs))}; a teacher reads pictures, one input")
    name, batch, last = inputs[0].name, inputs[0].shape[0], inputs[0].shape[3]
    channels_last = last in (1, 3) and inputs[0].shape[1] not in (1, 3)

    def answer(x: Tensor) -> Tensor:
        array = x.contiguous().numpy()
        rows = np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if channels_last else array
        if not isinstance(batch, int):
            return torch.from_numpy(session.run({name: rows})[0].copy())
        filled = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % batch, axis=0)])
        parts = [session.run({name: part})[0] for part in np.split(filled, len(filled) // batch)]
        return torch.from_numpy(np.concatenate(parts)[: len(rows)])

    return answer
