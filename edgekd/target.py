"""The steps of a build that recur for one target, with what they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from edgekd.budget import TEACHER, TEACHER_INT8
from edgekd.data import stages as data
from edgekd.deploy import exporter
from edgekd.deploy import stages as deploy
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact
from edgekd.errors import UnsupportedError
from edgekd.hardware import stages as hardware
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.fingerprint import Cpu, cpu
from edgekd.hardware.here import is_installed, takes_floats
from edgekd.hardware.profile import DeviceProfile
from edgekd.hardware.specs import CompilerSpec, Runnable, RuntimeSpec
from edgekd.hardware.where import Where, where_of
from edgekd.pipeline import Pipeline
from edgekd.quant import stages as quant
from edgekd.sparse.plans import Sparsity
from edgekd.teacher.stages import Given

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """The steps that recur, with what they share."""

    engine: Engine
    pipeline: Pipeline
    profile: DeviceProfile
    runtime: RuntimeSpec  # the first: baselines and candidates are measured in it
    cpu: Cpu  # of a device elsewhere, the one that compiles for it
    runtimes: Sequence[RuntimeSpec]
    there: hardware.There | None = None  # where it is measured and answers, over ssh; None: here
    not_written: dict[str, str] = field(default_factory=dict)  # filled on the way: variants and why

    @classmethod
    def of(cls, engine: Engine, pipeline: Pipeline, profile: DeviceProfile, device: str | None = None) -> Target:
        """See `where_of` for what it raises."""
        where = where_of(profile, device)
        return cls(engine, pipeline, profile, where.runtimes[0], where.cpu, where.runtimes, where.there)

    @classmethod
    def elsewhere(cls, engine: Engine, pipeline: Pipeline, profile: DeviceProfile) -> Target:
        """Of a device that is compiled for: nothing is measured there."""
        assert profile.compiler is not None
        return cls(engine, pipeline, profile, profile.compiler, cpu(), (profile.compiler,))

    @property
    def where(self) -> Where:
        """Of a target that is measured."""
        runnable = tuple(spec for spec in self.runtimes if not isinstance(spec, CompilerSpec))
        return Where(cpu=self.cpu, runtimes=runnable, there=self.there)

    @property
    def dialect(self) -> Any:
        return self.runtime.dialect.on(self.cpu)

    @property
    def measured_in(self) -> Runnable:
        """The first runtime, of a target that is here."""
        assert not isinstance(self.runtime, CompilerSpec)
        return self.runtime

    def at(self, variant: str | None = None, student: str | None = None) -> Coordinates:
        return Coordinates(self.profile.name, student, variant)

    def named(self, variant: str, spec: RuntimeSpec) -> str:
        """A variant in the first runtime has its plain name."""
        return variant if spec is self.runtime else f"{variant}@{spec.name}"

    def hub(self, checkpoint: Result, dataset: Result, variant: str) -> Result:
        return self.engine.call(
            deploy.ONNX_FLOAT, deploy.ExportFloat(preprocess=self.pipeline.preprocess),
            {"checkpoint": checkpoint, "data": dataset}, Coordinates(variant=variant),
        )  # fmt: skip

    def teachers(self, master: Result, given: Given | None, dataset: Result) -> dict[str, Result]:
        """The teacher's own files, float and int8: what every student is held against."""
        hub = self.teachers_hub(master, given, dataset)
        integers = self.teachers_int8(hub, master, given, dataset)
        return {
            TEACHER: self.needed(hub, self.at(TEACHER)),
            TEACHER_INT8: self.needed(integers, self.at(TEACHER_INT8)),
        }

    def teachers_estimate(self, master: Result, given: Given | None, dataset: Result) -> dict[str, Result]:
        """
        The int8 teacher alone, of a device elsewhere: what the costs of students are held against. None where its
        exporter cannot write it.
        """
        hub = self.teachers_int8(self.teachers_hub(master, given, dataset), master, given, dataset)
        return self.written(TEACHER_INT8, hub, (self.runtime,))

    def teachers_hub(self, master: Result, given: Given | None, dataset: Result) -> Result:
        if given is None or given.kind != "onnx":
            return self.hub(master, dataset, TEACHER)
        settings = deploy.ExportFloat(preprocess=self.pipeline.preprocess)
        return self.engine.call(
            deploy.TAKE_TEACHER, settings, {"checkpoint": master, "data": dataset}, self.at(TEACHER)
        )

    def teachers_int8(self, hub: Result, master: Result, given: Given | None, dataset: Result) -> Result:
        at = self.at(TEACHER_INT8)
        if given is None or given.shape is not None:
            return self.quantised(master, dataset, self.dialect, at)
        plan = quant.PtqGiven(dialect=self.dialect, samples=self.pipeline.quantize.calibration_images)
        return self.engine.call(quant.PTQ_GIVEN, plan, {"hub": hub, "data": dataset}, at)

    def floats(self, student: Result, dataset: Result) -> dict[str, Result]:
        """The float student in every runtime that takes floats."""
        hub = self.hub(student, dataset, "fp32")
        return self.written("fp32", hub, [spec for spec in self.runtimes if takes_floats(spec)])

    def int8(
        self,
        student: Result,
        master: Result,
        dataset: Result,
        dialect: Dialect,
        members: Sequence[RuntimeSpec],
        variants: dict[str, Result],
        val: dict[str, Result],
    ) -> Result | None:
        """
        int8 for the runtimes of one dialect, added to `variants` and `val`: by PTQ, and by QAT where PTQ loses more
        than the margin. That decision; None where no exporter of them knows such a net.
        """

        def add(variant: str, hub: Result) -> str | None:
            made = self.written(variant, hub, members)
            variants.update(made)
            val.update({name: self.evaluate(model, dataset, "val", name) for name, model in made.items()})
            return next(iter(made), None)

        first = add("int8", self.ptq(student, dataset, dialect, members[0]))
        if first is None:
            return None
        plan = self.pipeline.quantize
        decision = self.engine.call(
            quant.NEEDS_QAT, quant.NeedsQat(margin_points=plan.margin_points),
            {"fp32": val["fp32"], "ptq": val[first]}, self.at(None if first == "int8" else first),
        )  # fmt: skip
        if plan.then == "qat" and known(decision, "qat", default=True):
            add("int8-qat", self.qat(student, master, dataset, dialect, members[0]))
        return decision

    def ptq(self, checkpoint: Result, dataset: Result, dialect: Dialect, spec: RuntimeSpec) -> Result:
        """Of a student, which is as sparse as the pipeline says."""
        return self.quantised(checkpoint, dataset, dialect, self.at(self.named("int8", spec)), self.pipeline.sparsity)

    def quantised(
        self, checkpoint: Result, dataset: Result, dialect: Dialect, at: Coordinates, sparsity: Sparsity | None = None
    ) -> Result:
        settings = quant.Ptq(
            dialect=dialect, preprocess=self.pipeline.preprocess, sparsity=sparsity,
            calibration_images=self.pipeline.quantize.calibration_images,
        )  # fmt: skip
        return self.engine.call(quant.PTQ, settings, {"checkpoint": checkpoint, "data": dataset}, at)

    def qat(self, student: Result, master: Result, dataset: Result, dialect: Dialect, spec: RuntimeSpec) -> Result:
        return self.taught_as_int8(student, master, dataset, dialect, self.at(self.named("int8-qat", spec)))

    def taught_as_int8(
        self, student: Result, master: Result, dataset: Result, dialect: Dialect, at: Coordinates, seed: int = 0
    ) -> Result:
        """By QAT with the pipeline's recipe; `seed` is added to its own."""
        plan = self.pipeline.quantize.qat
        settings = quant.Qat(
            dialect=dialect, preprocess=self.pipeline.preprocess, views=self.pipeline.views,
            train=plan.model_copy(update={"seed": plan.seed + seed}), losses=self.pipeline.distill.losses,
            sparsity=self.pipeline.sparsity,
        )  # fmt: skip
        return self.engine.call(quant.QAT, settings, {"student": student, "teacher": master, "data": dataset}, at)

    def written(self, variant: str, hub: Result, members: Sequence[RuntimeSpec]) -> dict[str, Result]:
        """One graph in several runtimes, without those whose exporter cannot write it: why is kept for the report."""
        specs = {self.named(variant, spec): spec for spec in members}
        models = {name: self.export(hub, self.at(name), spec) for name, spec in specs.items()}
        for name, model in models.items():
            if isinstance(model, Artifact) and not exporter.is_written(model):
                self.not_written[name] = exporter.read(model)["refused"]
        return {name: model for name, model in models.items() if exporter.is_written(model)}

    def needed(self, hub: Result, at: Coordinates) -> Result:
        """In the first runtime, which all others are held against: what it cannot take ends the build."""
        model = self.export(hub, at, self.runtime)
        if isinstance(model, Artifact) and not exporter.is_written(model):
            raise UnsupportedError(f"{at}: {exporter.read(model)['refused']}")
        return model

    def export(self, hub: Result, at: Coordinates, spec: RuntimeSpec) -> Result:
        settings = deploy.Export(runtime=spec, cpu=self.cpu, model=f"{self.pipeline.name}/{at}")
        return self.engine.call(_versioned(deploy.EXPORT, spec), settings, {"hub": hub}, at)

    def versioned(self, stage: Any) -> Any:
        """The stage with the versions of the first runtime's packages, and of what writes for it, in its key."""
        return _versioned(stage, self.runtime)

    def evaluate(self, model: Result, dataset: Result, split: data.Split, variant: str) -> Result:
        inputs, at = {"model": model, "data": dataset}, self.at(f"{variant}, {split}")
        if self.there:
            asked = deploy.EvaluateThere(split=split, cpu=self.cpu, there=self.there)
            return self.engine.call(self._with_runtime(deploy.EVALUATE_THERE), asked, inputs, at)
        settings = deploy.Evaluate(split=split, cpu=self.cpu)
        return self.engine.call(self._with_runtime(deploy.EVALUATE), settings, inputs, at)

    def compare(self, models: Mapping[str, Result], bases: tuple[str, ...], what: str) -> Result:
        stage, settings = hardware.comparing(self.cpu, self.profile.measure, bases, self.there)
        return self.engine.call(self._with_runtime(stage), settings, prefixed("model", models), self.at(what))

    def _with_runtime(self, stage: Any) -> Any:
        """The stage with the versions of the runtimes' packages in its key."""
        if self.profile.compiler:
            return _versioned(stage, self.runtime)
        return replace(stage, uses=(*stage.uses, *(package for spec in self.runtimes for package in spec.packages)))


def _versioned(stage: Any, spec: RuntimeSpec) -> Any:
    packages = spec.packages
    if isinstance(spec, CompilerSpec):  # any of several may be the one that compiles
        packages = tuple(package for package in packages if is_installed(package))
    return replace(stage, uses=(*stage.uses, *packages, *exporter.distribution(spec.exporter)))


def prefixed(prefix: str, results: Mapping[str, T]) -> dict[str, T]:
    return {f"{prefix}.{name}": result for name, result in results.items()}


def known(decision: Result, key: str, *, default: bool) -> bool:
    return bool(decision.json("decision.json")[key]) if isinstance(decision, Artifact) else default
