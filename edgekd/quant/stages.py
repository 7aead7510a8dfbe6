"""Settings of the quantisation stages; nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from edgekd.data.stages import Preprocess, Views
from edgekd.engine.stage import Stage
from edgekd.hardware.dialect import Dialect
from edgekd.resources import cores
from edgekd.settings import Settings
from edgekd.sparse.plans import Sparsity
from edgekd.train.losses.settings import LossSettings
from edgekd.train.settings import Training

Calibration = Literal["min-max", "percentile", "entropy", "mse"]
Adjustment = Literal["bias-correction", "equalisation", "smooth"]
Toolchain = Literal["neural-compressor"]  # in an environment of its own
Recipe = Literal[Calibration, Adjustment, Toolchain]  # an adjustment comes with min-max
USES = ("torch", "torchao", "onnx", "onnxscript", "transformers")


class Ptq(Settings):
    """Post-training quantisation: the ranges of activations are the extremes that calibration saw."""

    dialect: Dialect
    preprocess: Preprocess
    calibration_images: int = Field(default=512, ge=1)
    threads: int = Field(default_factory=cores, ge=1)
    sparsity: Sparsity | None = None  # that the graph is to hold, as its float net does


class PtqGiven(Settings):
    """Post-training quantisation of an ONNX graph that comes without torch."""

    dialect: Dialect
    recipe: Recipe = "min-max"
    samples: int = Field(default=512, ge=1)
    pins: str | None = None  # of a toolchain: the digest of its versions


class SeeRanges(Settings):
    """The extremes of activations, which all dialects share."""

    samples: int = Field(default=512, ge=1)


class DynamicGiven(Settings):
    """int8 weights of matrix products; their inputs are quantised while the model runs."""

    dialect: Dialect


class ChooseRecipe(Settings):
    """Of several recipes, the one that answers most val samples right; the earlier one where they tie."""

    recipes: tuple[Recipe, ...]


class Freezing(Settings):
    """
    Shares of the epochs after which statistics of batch norms stand, and ranges do.

    Norms first: the scales of weights are of what a batch norm is folded into, and were wrong with every step that
    its statistics went on (W3A8 on ResNet-20: 74 % with ranges first, 82 % with neither, after a quarter of the steps).
    """

    norms_from: float = Field(default=0.6, ge=0, le=1)
    ranges_from: float = Field(default=0.8, ge=0, le=1)


class Qat(Settings):
    """Distillation goes on under fake quantisation, from the float checkpoint."""

    dialect: Dialect
    preprocess: Preprocess
    views: Views
    train: Training
    losses: tuple[LossSettings, ...] = Field(min_length=1)
    freezing: Freezing = Freezing()
    sparsity: Sparsity | None = None  # whose zeros stay


class NeedsQat(Settings):
    margin_points: float


PTQ = Stage[Ptq](
    "quant.ptq",
    "edgekd.quant.ptq:run",
    takes={"checkpoint": "checkpoint", "data": "dataset"},
    gives="onnx",
    version=2,
    uses=USES,
    memory="quantize.calibration_images",
    typical_s=6.0,
)
QAT = Stage[Qat](
    "quant.qat",
    "edgekd.quant.qat:run",
    takes={"student": "checkpoint", "teacher": "checkpoint", "data": "dataset"},
    gives="onnx",
    version=4,
    uses=USES,
    cost=lambda settings: settings.train.epochs,
    memory="quantize.qat.batch",
    typical_s=8.0,
)
RANGES = Stage[SeeRanges](
    "quant.ranges",
    "edgekd.quant.given:run_ranges",
    takes={"hub": "onnx", "data": "dataset"},
    gives="ranges",
    uses=("onnx", "onnxruntime"),
    memory="samples",
    typical_s=3.0,
)
PTQ_GIVEN = Stage[PtqGiven](
    "quant.ptq",
    "edgekd.quant.given:run",
    takes={"hub": "onnx", "data": "dataset", "ranges": "ranges"},
    may_lack=("ranges",),  # of recipes that look at more than extremes, or change the graph first
    gives="onnx",
    version=2,
    uses=("onnx", "onnxruntime"),
    memory="samples",
    typical_s=4.0,
)
DYNAMIC_GIVEN = Stage[DynamicGiven](
    "quant.dynamic",
    "edgekd.quant.given:run_dynamic",
    takes={"hub": "onnx"},
    gives="onnx",
    uses=("onnx", "onnxruntime"),
    typical_s=4.0,
)
CHOOSE_RECIPE = Stage[ChooseRecipe](
    "quant.recipe",
    "edgekd.quant.decide:run_recipe",
    takes={"val.*": "predictions"},
    gives="decision",
    nature="decision",
)
NEEDS_QAT = Stage[NeedsQat](
    "quant.decide",
    "edgekd.quant.decide:run",
    takes={"fp32": "predictions", "ptq": "predictions"},
    gives="decision",
    nature="decision",
    uses=("scipy",),
)
NEEDS_MORE = replace(NEEDS_QAT, name="quant.more", run="edgekd.quant.decide:run_more")
