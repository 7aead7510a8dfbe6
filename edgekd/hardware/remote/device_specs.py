"""Stands for edgekd.hardware.specs on the device, where pydantic need not be: it was validated before it was sent."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

TENSORRT = "TensorrtExecutionProvider"
Runnable = OnnxRuntimeSpec = OpenVinoSpec = LiteRtSpec = Any


def read_runnable(text: str) -> Any:
    return SimpleNamespace(**json.loads(text))
