"""Settings of the report; nothing heavy is imported here."""

from __future__ import annotations

from typing import Any

from edgekd.budget import Budget
from edgekd.deploy.stages import Select, SelectCompiled
from edgekd.engine.stage import Stage
from edgekd.hardware.specs import Numerics
from edgekd.search.stages import RankName
from edgekd.settings import Settings
from edgekd.text.stages import SelectCompiledText, SelectText


class Tell(Settings):
    pipeline: str
    target: str
    budget: Budget
    variants: tuple[str, ...]
    rank: tuple[RankName, ...]
    dialect: str
    not_written: dict[str, str] = {}  # variant -> why its exporter could not
    advice: tuple[str, ...] = ()  # on the recipe
    search_cost: dict[str, Any] | None = None
    replayed: tuple[str, ...] | None = None  # with --locked: where today would have decided otherwise


class TellExport(Settings):
    name: str
    target: str
    select: Select
    labelled: bool
    not_written: dict[str, str]  # variant@runtime -> why its exporter could not
    replayed: tuple[str, ...] | None = None


class TellCompiled(Settings):
    pipeline: str
    target: str
    lead: str  # the target whose student this is
    select: SelectCompiled
    numerics: Numerics  # of what answered for the device
    dialect: str
    not_written: dict[str, str] = {}
    advice: tuple[str, ...] = ()
    replayed: tuple[str, ...] | None = None


class TellText(Settings):
    pipeline: str
    task: str
    target: str
    select: SelectText
    length: int  # in tokens, that latencies are of
    read: int  # at most so many of a text
    padded: bool = False  # to just so many
    not_written: dict[str, str] = {}
    replayed: tuple[str, ...] | None = None


class TellCompiledText(Settings):
    pipeline: str
    task: str
    target: str
    lead: str  # the target in whose first runtime the float files answered
    select: SelectCompiledText
    numerics: Numerics
    dialect: str
    read: int  # tokens, to which every text is padded
    not_written: dict[str, str] = {}
    replayed: tuple[str, ...] | None = None


EXPORTED = Stage[TellExport](
    "report.export",
    "edgekd.report.exported:run",
    takes={
        "hub": "onnx",
        "model.*": "exported",
        "val.*": "predictions",
        "test.*": "predictions",
        "comparison": "comparison",
        "selection": "selection",
        "recipe.*": "decision",
    },
    may_lack=("recipe.*",),
    gives="report",
    nature="observation",  # it restates measurements
    uses=("scipy",),
)
REPORT = Stage[Tell](
    "report",
    "edgekd.report.tell:run",
    takes={
        "model.*": "exported",
        "val.*": "predictions",
        "test.*": "predictions",
        "look.*": "predictions",  # of the float student and its teacher, in torch
        "comparison": "comparison",
        "candidates": "comparison",
        "scores": "scores",
        "shortlist": "candidates",
        "feasible": "candidates",
        "round.*": "candidates",
        "choice": "decision",
        "cut.*": "checkpoint",
        "zeros": "zeros",
        "precision": "decision",
        "selection": "selection",
        "student": "checkpoint",
    },
    may_lack=(
        "round.*",
        "cut.*",
        "zeros",
        "candidates",
        "scores",
        "shortlist",
        "feasible",
        "choice",
    ),  # one of two ways
    version=6,
    gives="report",
    nature="observation",  # it restates measurements
    uses=("scipy",),
)
COMPILED = Stage[TellCompiled](
    "report.compiled",
    "edgekd.report.compiled:run",
    takes={
        "model.*": "exported",
        "val.*": "predictions",
        "test.*": "predictions",
        "precision": "decision",
        "selection": "selection",
        "student": "checkpoint",
    },
    gives="report",
    nature="observation",
    uses=("scipy",),
)
TEXT = Stage[TellText](
    "report.text",
    "edgekd.report.texts:run",
    takes={
        "model.*": "exported",
        "val.*": "predictions",
        "test.*": "predictions",
        "comparison": "comparison",
        "selection": "selection",
        "student": "text-model",
        "texts": "texts",
    },
    gives="report",
    nature="observation",
    uses=("scipy",),
)
COMPILED_TEXT = Stage[TellCompiledText](
    "report.compiled.text",
    "edgekd.report.compiled_texts:run",
    takes={
        "model.*": "exported",
        "val.*": "predictions",
        "test.*": "predictions",
        "selection": "selection",
        "student": "text-model",
        "texts": "texts",
    },
    gives="report",
    nature="observation",
    uses=("scipy",),
)
