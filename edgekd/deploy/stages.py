"""Settings of the stages from a checkpoint to a proved artifact; nothing heavy is imported here."""

from __future__ import annotations

from pydantic import Field

from edgekd.budget import TEACHER, Budget
from edgekd.data.stages import Preprocess, Split
from edgekd.engine.stage import Stage
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.specs import RuntimeSpec
from edgekd.hardware.stages import There
from edgekd.resources import cores
from edgekd.settings import Settings


class ExportFloat(Settings):
    preprocess: Preprocess
    threads: int = Field(default_factory=cores, ge=1)


class TakeOnnx(Settings):
    """An ONNX file, and what is to be known of it that it does not say."""

    path: str
    sha256: dict[str, str]  # of every file that it consists of
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] = ()


class Export(Settings):
    runtime: RuntimeSpec
    cpu: Cpu  # whether it fuses and what it answers depends on the machine that was asked
    model: str  # what the file is told to be in its metadata
    needed: bool = True  # else what its exporter says against it is kept as the reason, and the others go on
    trained: bool = True  # random weights have near ties everywhere: whether top-1 agrees says nothing of them


class Evaluate(Settings):
    """In the runtime that the file was exported for, with all cores: accuracy is no latency."""

    split: Split
    cpu: Cpu
    batch: int = Field(default=100, ge=1)
    threads: int = Field(default_factory=cores, ge=1)


class EvaluateThere(Settings):
    """On a device: one file answers otherwise on another processor's kernels."""

    split: Split
    cpu: Cpu
    there: There
    batch: int = Field(default=50, ge=1)


class Select(Settings):
    budget: Budget
    variants: tuple[str, ...]
    base: str = TEACHER  # what accuracy and speed are held against
    floor: str = "fp32"  # what nothing that ships is slower than, where it keeps the budget itself


class Room(Settings):
    """What a device elsewhere has for a model; None where it is not known, and nothing was asked."""

    flash_kib: float | None = None
    ram_kib: float | None = None


class SelectCompiled(Settings):
    budget: Budget
    room: Room
    variants: tuple[str, ...]


ONNX_FLOAT = Stage[ExportFloat](
    "onnx.fp32",
    "edgekd.deploy.hub:run_float",
    takes={"checkpoint": "checkpoint", "data": "dataset"},
    gives="onnx",
    uses=("torch", "onnx", "onnxscript", "transformers"),
    typical_s=3.5,
)
TAKE = Stage[TakeOnnx](
    "onnx.given", "edgekd.deploy.given:run", takes={"data": "dataset"}, gives="onnx", uses=("onnx", "onnxruntime")
)
TAKE_TEACHER = Stage[ExportFloat](
    "onnx.teacher",
    "edgekd.deploy.given:run_teacher",
    takes={"checkpoint": "checkpoint", "data": "dataset"},
    gives="onnx",
    uses=("onnx", "onnxruntime"),
)
EXPORT = Stage[Export](
    "export", "edgekd.deploy.exporter:run", takes={"hub": "onnx"}, gives="exported", version=3, uses=("onnx",)
)
EVALUATE = Stage[Evaluate](
    "evaluate",
    "edgekd.deploy.evaluate:run",
    takes={"model": "exported", "data": "dataset", "like": "predictions"},
    may_lack=("like",),  # of samples with labels
    gives="predictions",
    version=3,
)
SELECT = Stage[Select](
    "select",
    "edgekd.deploy.select:run",
    takes={"model.*": "exported", "val.*": "predictions", "comparison": "comparison"},
    gives="selection",
    nature="decision",
    uses=("scipy",),
)
SELECT_COMPILED = Stage[SelectCompiled](
    "select.compiled",
    "edgekd.deploy.select_compiled:run",
    takes={"model.*": "exported", "val.*": "predictions"},
    gives="selection",
    nature="decision",
    uses=("scipy",),
)
EVALUATE_THERE = Stage[EvaluateThere](
    "evaluate.there",
    "edgekd.deploy.evaluate:run_there",
    takes={"model": "exported", "data": "dataset"},
    gives="predictions",
    nature="observation",  # the device is no part of the key but by its processor
    typical_s=5.0,
)
