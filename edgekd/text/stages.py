"""Stages of text, from its sources to answers of exported files; nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekd.data.stages import Split
from edgekd.deploy.stages import Select, SelectCompiled
from edgekd.engine.stage import Stage
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.stages import There
from edgekd.resources import cores
from edgekd.settings import Settings
from edgekd.text.plans import Pairs, TextBudget
from edgekd.text.settings import DistillEmbedding, Student, TeachClasses, TextStage, TextSupernet
from edgekd.text.sources import TextSource

TORCH = ("torch", "transformers", "tokenizers")
ONNX = ("onnx", "onnxruntime", "tokenizers")


class ReadTexts(Settings):
    source: TextSource


class TakeTeacher(Settings):
    """A folder that save_pretrained wrote; `digest` is of its files."""

    path: str
    digest: str


class Tokenize(Settings):
    length: int = Field(ge=4)


class Answer(Settings):
    """What a teacher says of each text; where classes are wanted it has to know them."""

    threads: int = Field(default_factory=cores, ge=1)
    precision: Literal["float32", "bfloat16"] = "float32"


class CutStudent(Settings):
    """With `classes` it is a classifier of the data's; without `keep` the whole model gets a fresh head for them."""

    keep: Student | None
    classes: bool = False
    threads: int = Field(default_factory=cores, ge=1)


class TeachInStages(Settings):
    """One training after the other, each on its own text and by its own teacher."""

    stages: tuple[TextStage, ...] = Field(min_length=1)
    threads: int = Field(default_factory=cores, ge=1)

    @property
    def epochs(self) -> int:
        return sum(stage.learn.train.epochs for stage in self.stages)


class TrainSupernet(Settings):
    search: TextSupernet


class ScoreSubnets(Settings):
    search: TextSupernet
    measured: int = Field(ge=1)
    threads: int = Field(default_factory=cores, ge=1)


class TakeSubnet(Settings):
    number: int = Field(ge=0)  # among those that are measured


class ChooseSubnet(Settings):
    speedup: float


class ExportText(Settings):
    length: int = Field(ge=2)  # that latencies are of
    max_length: int = Field(ge=2)
    fixed: bool = False  # one text of just `length` tokens at a time
    threads: int = Field(default_factory=cores, ge=1)


class Lighter(Settings):
    """fp16-weights: float32 arithmetic with weights that are kept in 16 bits. int8-dynamic: see quantise_dynamic."""

    variant: Literal["fp16-weights", "int8-dynamic"]
    dialect: Dialect


class StaticText(Settings):
    """int8 with ranges of activations from training texts, padded to `length`."""

    dialect: Dialect
    texts: int = Field(ge=8)
    length: int = Field(ge=2)
    tables: bool = True  # of words as int8 by row, which compilers for devices elsewhere do not take


class EvaluateText(Settings):
    """Each text alone and as long as it is, as a device sees it; accuracy is no latency, so all cores may help."""

    split: Split
    cpu: Cpu
    texts: int = Field(ge=8)
    threads: int = Field(default_factory=cores, ge=1)


class EvaluateTextThere(Settings):
    """The same on a device: one file answers otherwise on another processor's kernels."""

    split: Split
    cpu: Cpu
    texts: int = Field(ge=8)
    there: There


class Stock(Settings):
    """The float student under the names that transformers has for it."""

    max_length: int = Field(ge=4)


class SelectCompiledText(SelectCompiled):
    budget: TextBudget


class SingleFile(Settings):
    """`texts` show that it answers as the model with its tokenizer beside it does."""

    texts: int = Field(default=100, ge=1)


class SelectText(Select):
    budget: TextBudget
    teachers: tuple[str, ...]  # all files of the teacher's, the fastest of which is the one to beat


PAIRS = Stage[Pairs]("data.pairs", "edgekd.text.making:read_pairs", gives="pairs")
DATA = Stage[ReadTexts](
    "data.text", "edgekd.text.making:read", takes={"pairs": "pairs"}, may_lack=("pairs",), gives="texts", typical_s=20.0
)
TEACHER = Stage[TakeTeacher](
    "teacher.text", "edgekd.text.making:take", gives="text-model", uses=("transformers",), typical_s=2.0
)
TOKENS = Stage[Tokenize](
    "data.tokens", "edgekd.text.making:cut_texts", takes={"texts": "texts", "model": "text-model"}, gives="tokens",
    uses=("tokenizers",), typical_s=3.0,
)  # fmt: skip
TARGETS = Stage[Answer](
    "teacher.answers", "edgekd.text.making:ask", takes={"tokens": "tokens", "model": "text-model"},
    gives="targets", uses=TORCH, memory="lengths.train", typical_s=120.0,
)  # fmt: skip
CUT = Stage[CutStudent](
    "text.cut", "edgekd.text.making:cut", takes={"model": "text-model", "tokens": "tokens", "texts": "texts"},
    gives="text-model", uses=TORCH, typical_s=6.0,
)  # fmt: skip
DISTIL = Stage[DistillEmbedding](
    "text.distil", "edgekd.text.making:distil",
    takes={"student": "text-model", "tokens": "tokens", "targets": "targets", "teacher": "text-model",
           "teacher_tokens": "tokens"},
    may_lack=("teacher_tokens",),  # of students that have the teacher's vocabulary
    gives="text-model", uses=TORCH, cost=lambda settings: settings.train.epochs, memory="distill.train.batch",
    typical_s=120.0,
)  # fmt: skip
TEACH = Stage[TeachClasses](
    "text.teach", "edgekd.text.making:teach",
    takes={"student": "text-model", "tokens": "tokens", "texts": "texts", "targets": "targets",
           "teacher": "text-model"},
    may_lack=("targets", "teacher"),  # of a teacher that learns from labels alone; of a vocabulary of its own
    gives="text-model", uses=TORCH, cost=lambda settings: settings.train.epochs, memory="distill.train.batch",
    typical_s=30.0,
)  # fmt: skip
STAGED = Stage[TeachInStages](
    "text.staged", "edgekd.text.making:teach_in_stages",
    takes={"student": "text-model", "tokens": "tokens", "texts": "texts", "general": "tokens",
           "pretrained": "text-model", "tuned": "text-model"},
    may_lack=("general",),
    gives="text-model", uses=TORCH, cost=lambda settings: settings.epochs, memory="stages", typical_s=30.0,
)  # fmt: skip
LESSON = {"model": "text-model", "tokens": "tokens", "targets": "targets"}
SUPERNET = Stage[TrainSupernet](
    "text.supernet", "edgekd.text.subnets:run_train", version=2, takes=LESSON, gives="text-model", uses=TORCH,
    cost=lambda settings: settings.search.train.epochs, memory="search.train.batch", typical_s=600.0,
)  # fmt: skip
SCORE_SUBNETS = Stage[ScoreSubnets](
    "text.score", "edgekd.text.subnets:run_score", version=2, takes=LESSON | {"supernet": "text-model"}, gives="scores",
    uses=TORCH, typical_s=300.0,
)  # fmt: skip
TAKE_SUBNET = Stage[TakeSubnet](
    "text.take", "edgekd.text.subnets:run_take", version=2, takes={"supernet": "text-model", "scored": "scores"},
    gives="text-model", uses=TORCH, typical_s=2.0,
)  # fmt: skip
CHOOSE_SUBNET = Stage[ChooseSubnet](
    "text.choose", "edgekd.text.subnets:run_choose", takes={"scored": "scores", "comparison": "comparison"},
    gives="decision", nature="decision", uses=("scipy",),
)  # fmt: skip
ONNX_TEXT = Stage[ExportText](
    "onnx.text", "edgekd.text.hub:run", takes={"model": "text-model", "texts": "texts"}, gives="onnx",
    uses=(*TORCH, "onnx", "onnxscript"), typical_s=8.0,
)  # fmt: skip
LIGHTER = Stage[Lighter](
    "text.lighter", "edgekd.text.variants:run_lighter", takes={"hub": "onnx"}, gives="onnx", uses=ONNX, typical_s=5.0
)
STATIC = Stage[StaticText](
    "text.static", "edgekd.text.variants:run_static", takes={"hub": "onnx", "texts": "texts"}, gives="onnx", uses=ONNX,
    memory="calibration_texts", typical_s=20.0,
)  # fmt: skip
EVALUATE = Stage[EvaluateText](
    "text.evaluate", "edgekd.text.evaluate:run",
    takes={"model": "exported", "hub": "onnx", "texts": "texts", "pairs": "pairs"},
    may_lack=("pairs",), gives="predictions", uses=("tokenizers",), typical_s=4.0,
)  # fmt: skip
EVALUATE_THERE = Stage[EvaluateTextThere](
    "text.evaluate.there", "edgekd.text.evaluate:run_there",
    takes={"model": "exported", "hub": "onnx", "texts": "texts", "pairs": "pairs"},
    may_lack=("pairs",), gives="predictions", nature="observation", uses=("tokenizers",), typical_s=6.0,
)  # fmt: skip
SELECT = Stage[SelectText](
    "text.select", "edgekd.text.select:run",
    takes={"model.*": "exported", "val.*": "predictions", "comparison": "comparison"},
    gives="selection", nature="decision", uses=("scipy",),
)  # fmt: skip
SELECT_COMPILED = Stage[SelectCompiledText](
    "text.select.compiled", "edgekd.text.select:run_compiled",
    takes={"model.*": "exported", "val.*": "predictions"}, gives="selection", nature="decision", uses=("scipy",),
)  # fmt: skip
SINGLE_FILE = Stage[SingleFile](
    "text.single-file", "edgekd.text.single_file:run",
    takes={"model.*": "exported", "hub": "onnx", "texts": "texts", "report": "report"}, gives="single-file",
    uses=(*ONNX, "onnxruntime-extensions"), typical_s=3.0,
)  # fmt: skip
STOCK = Stage[Stock](
    "text.stock", "edgekd.text.stock:run", takes={"model": "text-model"}, gives="stock", uses=TORCH, typical_s=1.0
)
