"""Settings of the stages from a checkpoint to a proved artifact; nothing heavy is imported here."""

from __future__ import annotations

from pydantic import Field

from edgekd.budget import Budget
from edgekd.data.stages import Preprocess, Split
from edgekd.engine.stage import Stage
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.specs import Runnable
from edgekd.resources import cores
from edgekd.settings import Settings


class ExportFloat(Settings):
    preprocess: Preprocess
    threads: int = Field(default_factory=cores, ge=1)


class Export(Settings):
    runtime: Runnable
    cpu: Cpu  # whether it fuses and what it answers depends on the machine that was asked
    model: str  # what the file is told to be in its metadata
    trained: bool = True  # random weights have near ties everywhere: whether top-1 agrees says nothing of them


class Evaluate(Settings):
    split: Split
    runtime: Runnable
    cpu: Cpu
    batch: int = Field(default=100, ge=1)


class Select(Settings):
    budget: Budget
    variants: tuple[str, ...]


ONNX_FLOAT = Stage[ExportFloat](
    "onnx.fp32",
    "edgekd.deploy.hub:run_float",
    takes={"checkpoint": "checkpoint", "data": "dataset"},
    gives="onnx",
    uses=("torch", "onnx", "onnxscript", "transformers"),
    typical_s=3.5,
)
EXPORT = Stage[Export]("export", "edgekd.deploy.exporter:run", takes={"hub": "onnx"}, gives="exported", uses=("onnx",))
EVALUATE = Stage[Evaluate](
    "evaluate",
    "edgekd.deploy.evaluate:run",
    takes={"model": "exported", "data": "dataset"},
    gives="predictions",
)
SELECT = Stage[Select](
    "select",
    "edgekd.deploy.select:run",
    takes={"model.*": "exported", "val.*": "predictions", "comparison": "comparison"},
    gives="selection",
    nature="decision",
    uses=("scipy",),
)
