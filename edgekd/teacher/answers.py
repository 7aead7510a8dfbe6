"""What a teacher answers, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgekd.data import signature
from edgekd.deploy import exporter
from edgekd.deploy.given import CHANNELS
from edgekd.engine.store import Artifact
from edgekd.errors import ConfigError
from edgekd.hardware.answering import predict
from edgekd.hardware.runtimes.onnxruntime import OnnxRuntimeSession
from edgekd.hardware.specs import plain_onnxruntime
from edgekd.models import checkpoint, foreign

Answers = Callable[[Tensor], Tensor]  # of x [B, C, H, W]: logits [B, K]


def answers_of(folder: Path) -> Answers:
    """Of a teacher's checkpoint: torch's answers without gradients, or ONNX Runtime's."""
    about = foreign.described(folder)
    if about is not None and about.kind == "onnx":
        return _of_onnx(folder / foreign.ONNX)
    if about is not None and about.kind == "pool":
        return _of_pool(folder, about.shares)
    net = checkpoint.net_of(folder)
    own = about is None
    if own:
        checkpoint.channels_last(net)

    def answer(x: Tensor) -> Tensor:
        with torch.no_grad():
            said: Tensor = net(x if own else x.contiguous())  # a person's net may flatten what it takes for granted
            return said.float()

    return answer


def _of_pool(folder: Path, shares: tuple[float, ...]) -> Answers:
    """
    The log of the members' mean probabilities, weighted: Shen and Savvides, "MEAL V2" (2020), [54]; their
    discriminator is left out.
    """
    members = [answers_of(folder / str(number)) for number in range(len(shares))]
    logs = torch.tensor(shares).log()

    def answer(x: Tensor) -> Tensor:
        said = [member(x).log_softmax(1) + log for member, log in zip(members, logs, strict=True)]
        return torch.stack(said).logsumexp(0)

    return answer


def exported_answers(model: Artifact, threads: int) -> tuple[Answers, str]:
    """Of a teacher's exported file in its own runtime, and what that is. It reads floats: pixels are preprocessed."""
    session = exporter.opened(model, threads)
    (read,) = signature.read(model.path).inputs
    if read.dtype != "float32":
        raise ConfigError(f"distill.targets: the teacher's file reads {read.dtype}; views are float32")

    def answer(x: Tensor) -> Tensor:
        array = x.contiguous().numpy()
        rows = np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if read.layout == "NHWC" else array
        return torch.from_numpy(predict("teacher", session, {read.name: rows}, batch=32))

    return answer, f"{read.dtype} in {exporter.runtime(model).name}"


def _of_onnx(path: Path) -> Answers:
    session = OnnxRuntimeSession(path, plain_onnxruntime())
    inputs = session.describe().inputs
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ConfigError(f"teacher.from: reads {', '.join(map(str, inputs))}; a teacher reads pictures, one input")
    (read,) = inputs
    channels_last = read.shape[3] in CHANNELS and read.shape[1] not in CHANNELS

    def answer(x: Tensor) -> Tensor:
        array = x.contiguous().numpy()
        rows = np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if channels_last else array
        return torch.from_numpy(predict("teacher", session, {read.name: rows}, batch=len(rows)))

    return answer
