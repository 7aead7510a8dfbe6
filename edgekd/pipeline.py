"""What a pipeline file says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from edgekd import resources
from edgekd.budget import Budget
from edgekd.data.stages import CodeSource, DigitsSource, Preprocess, Source, Views
from edgekd.errors import ConfigError
from edgekd.formats import upgraded
from edgekd.hardware.profile import load_profile
from edgekd.plans import DistillPlan, PrunePlan, QuantizePlan, SearchPlan, TeacherPlan
from edgekd.search.spaces import CodeSpace
from edgekd.settings import Settings, override, read_yaml, validate
from edgekd.sparse.plans import MaybeSparse
from edgekd.text.plans import TASKS


class Pipeline(Settings):
    schema_version: int = Field(default=1, alias="schema", ge=1, le=1)
    # a folder of this name is made in dist/; without one, the file's own name
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    task: Literal["image-classification"]
    data: Source
    preprocess: Preprocess = Preprocess()
    views: Views = Views()
    teacher: TeacherPlan
    targets: tuple[str, ...] = Field(min_length=1)
    budget: Budget = Budget()
    search: SearchPlan = SearchPlan()
    prune: PrunePlan | None = None  # the student is what is left of the teacher; nothing is searched for
    distill: DistillPlan
    quantize: QuantizePlan = QuantizePlan()
    sparsity: MaybeSparse = None  # "2:4", {unstructured: 0.75, ...}; "none"
    quick: dict[str, Any] = {}  # what --quick sets, as --set would

    @model_validator(mode="after")
    def _measures_what_it_scores(self) -> Pipeline:
        if self.search.measure > self.search.candidates:
            raise ValueError(
                f"search.measure {self.search.measure} is more than search.candidates {self.search.candidates}; "
                "lower it"
            )
        return self

    @model_validator(mode="after")
    def _has_one_kind_of_candidates(self) -> Pipeline:
        if self.search.supernet and self.search.study:
            raise ValueError("search: supernet and study are two ways to candidates; leave one of the two out")
        if self.search.tables and not self.search.study:
            raise ValueError("search.tables: a study predicts latencies, and there is none; give search.study: {} too")
        if self.search.supernet and self.search.inits > 1:
            raise ValueError("search.inits: a supernet's sub-networks are trained, not drawn; leave it out")
        if self.search.supernet and self.distill.processes > 1:
            raise ValueError("search.supernet: one process trains it; leave distill.processes out")
        if self.search.supernet and (self.distill.start == "teacher" or self.distill.dual_head is not None):
            raise ValueError(
                "search.supernet: students start from it as it is; leave distill.start and distill.dual_head out"
            )
        return self

    @model_validator(mode="after")
    def _prunes_what_can_be_pruned(self) -> Pipeline:
        if self.prune is None:
            return self
        if self.search.supernet or self.search.study:
            raise ValueError(
                "prune: the student is what is left of the teacher, and nothing is searched for; leave search.supernet "
                "and search.study out"
            )
        if why := self.why_not_pruned:
            raise ValueError(f"prune: {why}")
        return self

    @property
    def why_not_pruned(self) -> str:
        """What of this pipeline does not go with a net that is cut and taught by itself; empty where all does."""
        if self.distill.start == "teacher" or self.distill.dual_head is not None:
            return "the net goes on from its own weights; leave distill.start and distill.dual_head out"
        for what, there_is in (
            ("teacher.pool", self.teacher.pool), ("distill.unlabelled", self.distill.unlabelled),
            ("distill.assistant", self.distill.assistant != "none"),
        ):  # fmt: skip
            if there_is:
                return f"{what}: the whole net alone teaches what is left of it, on labelled data; leave it out"
        return ""

    @model_validator(mode="after")
    def _stays_sparse_to_the_end(self) -> Pipeline:
        if self.sparsity and self.distill.patience:
            raise ValueError(
                "distill.patience: the best look may be from before the zeros came; leave it out, or sparsity"
            )
        if self.sparsity and self.distill.average_from < self.sparsity.complete:
            raise ValueError(
                f"distill.average_from: {self.distill.average_from:g} is before all zeros are there, at "
                f"{self.sparsity.complete:g} ({self.sparsity.schedule}): a mean of them is no such net; raise it"
            )
        if self.sparsity and self.sparsity.schedule == "rewind" and self.distill.cycles > 1:
            raise ValueError("distill.cycles: rewinding has as many as sparsity.rounds says; leave it out")
        if self.sparsity and self.sparsity.importance == "taylor" and self.distill.distill_momentum:
            raise ValueError(
                "distill.distill_momentum: taylor would see the labels' gradient alone; take magnitude, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _mixes_only_what_losses_can_mix(self) -> Pipeline:
        sure = [loss.name for loss in self.distill.losses if loss.one_class]
        if sure and (self.views.mixup or self.views.cutmix):
            raise ValueError(
                f"distill.losses: {sure[0]} needs one class an image, which mixed ones do not have; leave "
                "views.mixup and views.cutmix out, or take another loss"
            )
        return self

    @model_validator(mode="after")
    def _asks_nothing_of_labels_that_are_not_there(self) -> Pipeline:
        if self.distill.unlabelled is None:
            return self
        sure = [loss.name for loss in self.distill.losses if loss.one_class]
        if sure:
            raise ValueError(
                f"distill.losses: {sure[0]} needs the class of every image, which unlabelled ones do not have; take kd "
                "or another loss of the teacher's answers, with cross-entropy for those that have one"
            )
        if not any(loss.needs for loss in self.distill.losses):
            raise ValueError("distill.unlabelled: no loss asks the teacher, and nobody else knows them; add kd")
        if self.views.mixup or self.views.cutmix:
            raise ValueError("distill.unlabelled: cannot be mixed with labels; leave views.mixup and views.cutmix out")
        if self.distill.targets.keep == "always":
            raise ValueError(
                "distill.targets.keep: always: kept targets are of labelled images alone; let the teacher answer along "
                "(never), or leave distill.unlabelled out"
            )
        return self

    @model_validator(mode="after")
    def _asks_a_pool_for_logits_alone(self) -> Pipeline:
        if self.teacher.pool and self.distill.deep:
            raise ValueError(
                f"distill.losses: {self.distill.deep} needs a teacher's layers, and the teachers of a pool give logits "
                "alone; leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _keeps_only_what_can_be_kept(self) -> Pipeline:
        if self.distill.targets.keep != "always":
            return self
        if self.views.mixup or self.views.cutmix:
            raise ValueError(
                "distill.targets.keep: always: mixed views belong to a batch and to no sample; leave views.mixup and "
                "views.cutmix out, or let the teacher answer along (never)"
            )
        if self.distill.deep:
            raise ValueError(
                f"distill.targets.keep: always: {self.distill.deep} needs the teacher's layers, which are not kept; "
                "leave it out, or let the teacher answer along (never)"
            )
        return self

    @model_validator(mode="after")
    def _normalises_every_channel(self) -> Pipeline:
        channels = 1 if isinstance(self.data, DigitsSource) else getattr(self.data, "channels", None)
        if channels not in (None, len(self.preprocess.mean)):
            raise ValueError(
                f"preprocess.mean: {len(self.preprocess.mean)} values, and data has {channels} channel(s); one each"
            )
        return self

    @model_validator(mode="after")
    def _digits_stay_as_they_are(self) -> Pipeline:
        size = self.preprocess.crop or self.preprocess.resize
        if isinstance(self.data, DigitsSource) and size not in (None, (28, 28)):
            raise ValueError(f"preprocess: digits are 28 x 28; leave out resize and crop, which say {size}")
        return self

    @property
    def effort(self) -> str:
        """What a time budget made of it."""
        own = f"teacher {self.teacher.train.epochs} epochs, " if self.teacher.train else ""
        return (
            f"{own}distillation {self.distill.epochs} epochs, {self.search.candidates} candidates, "
            f"{self.search.measure} measured"
        )

    @property
    def code(self) -> tuple[str, ...]:
        """Files of the person's own whose code would run."""
        teachers = [self.teacher.from_, *(member.from_ for member in self.teacher.pool)]
        found = [path for path in teachers if path and Path(path).suffix == ".py"]
        return (
            *found,
            *(part.path for part in (self.data, self.search.space) if isinstance(part, CodeSource | CodeSpace)),
        )

    def scaled(self, share: float, *, teacher: bool = True) -> Self:
        """The same with about `share` of the epochs and candidates: what a time budget buys."""

        def part(count: int, least: int = 1) -> int:
            return max(min(count, least), round(count * share))

        train, search, distill = self.teacher.train, self.search, self.distill
        study, whole = search.study, search.supernet
        shorter = train.model_copy(update={"epochs": part(train.epochs)}) if train and teacher else train
        return self.model_copy(
            update={
                "teacher": self.teacher.model_copy(update={"train": shorter}),
                "search": search.model_copy(
                    update={
                        "candidates": part(search.candidates, 8),
                        "measure": part(search.measure, 2),
                        "study": study.model_copy(update={"trials": part(study.trials, 8)}) if study else None,
                        "supernet": whole.model_copy(update={"epochs": part(whole.epochs)}) if whole else None,
                    }
                ),
                "distill": distill.model_copy(update={"epochs": part(distill.epochs)}),
            }
        )


def load_pipeline(name: str, assignments: Sequence[str] = (), *, quick: bool = False) -> Pipeline:
    """A shipped pipeline by name, or a person's own by a path ending in .yaml; then `quick`, then `key.path=value`."""
    tree = read_yaml(resources.read("pipelines", name), name)
    if quick and isinstance(tree, dict):
        for key, value in (tree.get("quick") or {}).items():
            override(tree, f"{key}={value}")
    for assignment in assignments:
        override(tree, assignment)
    if isinstance(tree, dict) and name.endswith((".yaml", ".yml")):
        tree.setdefault("name", Path(name).stem.lower())
    if isinstance(tree, dict) and tree.get("task") in TASKS:
        raise ConfigError(f"{name}: task {tree['task']}: `edgekd build` and `edgekd plan` take it, this takes images")
    return pipeline_of(tree, name)


def pipeline_of(tree: Any, where: str) -> Pipeline:
    """A pipeline from a tree of any schema, its files found and their contents pinned by digest."""
    search = tree.get("search") if isinstance(tree, dict) else None
    if isinstance(search, dict) and isinstance(search.get("space"), str):
        search["space"] = {"name": search["space"]}  # the short form
    elif isinstance(search, dict) and isinstance(search.get("space"), dict):
        search["space"].setdefault("name", "residual-cnn")  # once the only one, which nobody had to name
    if isinstance(search, dict) and isinstance(search.get("tables"), dict):
        search["tables"] = {
            name: {"path": table} if isinstance(table, str) else table for name, table in search["tables"].items()
        }
    found = validate(Pipeline, upgraded("pipeline", tree, where) if isinstance(tree, dict) else tree, where)
    more = found.distill.unlabelled
    distill = found.distill.model_copy(update={"unlabelled": more.pinned()}) if more else found.distill
    search = _pinned(found.search, found.targets)
    return found.model_copy(update={"data": found.data.pinned(), "distill": distill, "search": search})


def _pinned(plan: SearchPlan, targets: Sequence[str]) -> SearchPlan:
    devices = [load_profile(target).name for target in targets] if plan.tables else []
    if strangers := sorted(plan.tables.keys() - set(devices)):
        raise ConfigError(
            f"search.tables: {strangers[0]}: no target of this pipeline has this name; there are {', '.join(devices)}"
        )
    space = plan.space.pinned() if isinstance(plan.space, CodeSpace) else plan.space
    tables = {name: table.pinned() for name, table in plan.tables.items()}
    return plan.model_copy(update={"space": space, "tables": tables})
