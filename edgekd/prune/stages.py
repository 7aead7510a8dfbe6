"""Settings of the stages that make a net smaller; nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekd.data.stages import Preprocess
from edgekd.engine.stage import Stage
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.profile import DeviceProfile, Measuring
from edgekd.hardware.specs import Runnable
from edgekd.hardware.stages import There
from edgekd.hardware.where import Where
from edgekd.models.shape import NetShape
from edgekd.resources import cores
from edgekd.settings import Settings
from edgekd.sparse.plans import Sparsity

By = Literal["latency", "width", "depth", "uniform", "magnitude"]
BY_LADDER: tuple[By, ...] = ("latency", "width", "depth")  # of any rungs, of no whole blocks, of whole blocks alone
Weighed = Literal["taylor", "uniform", "magnitude"]  # of nets of another family
Judged = Literal["answers", "trajectory", "macs", "scales"]
CHOSEN = "cut.json"


class Climb(Settings):
    """What the net loses with fewer units in one place, for every place: seen on training images."""

    preprocess: Preprocess
    step: int = Field(default=8, ge=1)  # units between two rungs: what the device's kernels round up to
    streams: bool = False  # what stages hand on, too
    judged: Judged = "answers"  # what a rung costs: of the logits, of all stages, of the net's size or of its scales
    images: int = Field(default=512, ge=32)
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default_factory=cores, ge=1)


class Staircase(Settings):
    """What a block costs a runtime with fewer units: int8 nets with random weights, one comparison."""

    shape: NetShape
    step: int = Field(default=8, ge=1)
    streams: bool = False
    preprocess: Preprocess
    runtime: Runnable
    cpu: Cpu
    there: There | None = None  # where it is measured, over ssh; None: here
    measuring: Measuring


class Walk(Settings):
    """How fast nets of the choices really are, from hardly smaller to as small as can be: whole nets, measured."""

    by: By = "latency"
    parameters: float = Field(default=1.0, gt=0, le=1)  # the share of them that may be left
    step: int = Field(default=8, ge=1)
    points: int = Field(default=12, ge=2)
    preprocess: Preprocess
    runtime: Runnable
    cpu: Cpu
    there: There | None = None  # where it is measured, over ssh; None: here
    measuring: Measuring
    threads: int = Field(default_factory=cores, ge=1)


class Choose(Settings):
    """
    Down to `ratio` of the net's latency, by what was measured. `latency` takes the units whose loss is least for what
    they cost; two baselines: `uniform` the same share in every block, `magnitude` the filters of least weights first.
    """

    ratio: float = Field(gt=0, lt=1)
    parameters: float = Field(default=1.0, gt=0, le=1)  # the share of them that may be left
    by: By = "latency"


class Cut(Settings):
    by: By = "latency"
    preprocess: Preprocess
    images: int = Field(default=2048, ge=32)  # that batch norms take their statistics from anew
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default_factory=cores, ge=1)


class AskZeros(Settings):
    """What `plan` would gain on a device for a net of this shape, before it is trained for zeros."""

    shape: NetShape
    plan: Sparsity
    preprocess: Preprocess
    profile: DeviceProfile
    where: Where


class Shares(Settings):
    """How fast int8 nets are without a share of their channels, hardly any to nearly all: one comparison."""

    by: Weighed = "taylor"
    step: int = Field(default=8, ge=1)
    points: int = Field(default=10, ge=2)
    preprocess: Preprocess
    images: int = Field(default=256, ge=32)  # that channels are weighed by, and ranges of activations seen on
    runtime: Runnable
    cpu: Cpu
    there: There | None = None  # where it is measured, over ssh; None: here
    measuring: Measuring
    threads: int = Field(default_factory=cores, ge=1)


class ChooseShare(Settings):
    ratio: float = Field(gt=0, lt=1)
    parameters: float = Field(default=1.0, gt=0, le=1)
    by: Weighed = "taylor"


class CutGroups(Settings):
    by: Weighed = "taylor"
    step: int = Field(default=8, ge=1)
    preprocess: Preprocess
    weighed_by: int = Field(default=256, ge=32)  # images
    images: int = Field(default=2048, ge=32)  # that batch norms take their statistics from anew
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default_factory=cores, ge=1)


LADDER = Stage[Climb](
    "prune.ladder",
    "edgekd.prune.ladder:run",
    version=2,
    takes={"net": "checkpoint", "data": "dataset"},
    gives="ladder",
    uses=("torch", "transformers"),
    memory="images",
    typical_s=60.0,
)
STAIRCASE = Stage[Staircase](
    "prune.staircase",
    "edgekd.prune.staircase:run",
    version=2,
    takes={"data": "dataset"},
    gives="staircase",
    nature="observation",
    uses=("onnx", "numpy"),
    typical_s=90.0,
)
PATH = Stage[Walk](
    "prune.path",
    "edgekd.prune.path:run",
    version=2,
    takes={"net": "checkpoint", "data": "dataset", "ladder": "ladder", "staircase": "staircase"},
    gives="path",
    nature="observation",
    uses=("torch", "transformers", "onnx"),
    typical_s=60.0,
)
CHOOSE = Stage[Choose](
    "prune.choose",
    "edgekd.prune.cut:run_choice",
    takes={"net": "checkpoint", "ladder": "ladder", "staircase": "staircase", "path": "path"},
    gives="decision",
    nature="decision",
    uses=("torch", "transformers"),
)
CUT = Stage[Cut](
    "prune.cut",
    "edgekd.prune.cut:run",
    version=3,
    takes={"net": "checkpoint", "data": "dataset", "ladder": "ladder", "choice": "decision"},
    gives="checkpoint",
    uses=("torch", "transformers"),
    typical_s=5.0,
)
SHARES = Stage[Shares](
    "prune.shares",
    "edgekd.prune.shares:run",
    takes={"net": "checkpoint", "data": "dataset"},
    gives="shares",
    version=2,
    nature="observation",
    uses=("torch", "transformers", "torch-pruning", "onnx"),
    extra="prune",
    typical_s=120.0,
)
CHOOSE_SHARE = Stage[ChooseShare](
    "prune.share", "edgekd.prune.shares:run_choice", takes={"shares": "shares"}, gives="decision", nature="decision"
)
CUT_GROUPS = Stage[CutGroups](
    "prune.groups",
    "edgekd.prune.shares:run_cut",
    takes={"net": "checkpoint", "data": "dataset", "choice": "decision"},
    gives="checkpoint",
    version=2,
    uses=("torch", "transformers", "torch-pruning"),
    extra="prune",
    typical_s=20.0,
)
ASK_ZEROS = Stage[AskZeros](
    "sparse.ask",
    "edgekd.prune.zeros:run",
    takes={"data": "dataset"},
    gives="zeros",
    nature="observation",
    uses=("torch", "onnx"),
    typical_s=20.0,
)
