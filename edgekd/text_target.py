"""The steps of a build of text that recur for one target, with what they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgekd.deploy import exporter
from edgekd.deploy import stages as deploy
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates, Stage
from edgekd.engine.store import Artifact
from edgekd.errors import UnavailableError, UnsupportedError
from edgekd.hardware import stages as hardware
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.here import by_dialect, is_installed, takes_floats
from edgekd.hardware.profile import DeviceProfile
from edgekd.hardware.specs import CompilerSpec, OnnxRuntimeSpec, RuntimeSpec
from edgekd.hardware.where import Where, where_of
from edgekd.settings import Settings
from edgekd.text import stages
from edgekd.text.plans import AnyTextPipeline

FLOAT, OF_TEACHER = "fp32", "teacher-"


@dataclass(frozen=True)
class Taught:
    """What a student learnt from, and what became of it."""

    texts: Result
    pairs: Result | None
    teacher: Result
    student: Result


@dataclass(frozen=True)
class TextTarget:
    """The steps that recur for one target, with what they share."""

    engine: Engine
    pipeline: AnyTextPipeline
    profile: DeviceProfile
    cpu: Cpu
    runtimes: Sequence[RuntimeSpec]
    there: hardware.There | None = None  # where it is measured and answers, over ssh; None: here
    not_written: dict[str, str] = field(default_factory=dict)  # filled on the way: variants and why

    @classmethod
    def of(
        cls, engine: Engine, pipeline: AnyTextPipeline, profile: DeviceProfile, device: str | None = None
    ) -> TextTarget:
        """See `taking_text` for what it raises."""
        where = taking_text(profile, device)
        return cls(engine, pipeline, profile, where.cpu, where.runtimes, where.there)

    def at(self, variant: str | None = None) -> Coordinates:
        return Coordinates(target=self.profile.name, variant=variant)

    @property
    def measured(self) -> int:
        """The length in tokens that latencies are of; where shapes are fixed, that of every text."""
        lengths = self.pipeline.lengths
        return lengths.fixed or lengths.measured if self.profile.fixes_shapes else lengths.measured

    @property
    def read(self) -> int:
        """At most so many tokens of a text."""
        return self.measured if self.profile.fixes_shapes else self.pipeline.lengths.read

    def named(self, variant: str, spec: RuntimeSpec) -> str:
        """A variant in the first runtime has its plain name."""
        return variant if spec is self.runtimes[0] else f"{variant}@{spec.name}"

    def hubs(self, learnt: Taught) -> dict[str, Result]:
        """By prefix, the teacher's and the student's."""
        models = {OF_TEACHER: learnt.teacher, "": learnt.student}
        return {prefix: self.hub(model, learnt.texts, prefix) for prefix, model in models.items()}

    def stock(self, learnt: Taught) -> Result | None:
        """For transformers, where that is wanted."""
        if not self.pipeline.weights:
            return None
        settings = stages.Stock(max_length=self.pipeline.lengths.read)
        return self.engine.call(stages.STOCK, settings, {"model": learnt.student})

    def hub(self, model: Result, texts: Result, prefix: str) -> Result:
        settings = stages.ExportText(length=self.measured, max_length=self.read, fixed=self.profile.fixes_shapes)
        at = Coordinates(variant=f"{prefix}{FLOAT}")
        return self.engine.call(stages.ONNX_TEXT, settings, {"model": model, "texts": texts}, at)

    def variants(self, hub: Result, prefix: str, texts: Result) -> dict[str, Result]:
        """One model in all runtimes and precisions that are asked for, without what an exporter cannot write."""
        asked, found = self.pipeline.variants, self.exported(f"{prefix}{FLOAT}", hub, self.runtimes)
        onnx = [spec for spec in self.runtimes if isinstance(spec, OnnxRuntimeSpec)]
        for name in ("fp16-weights", "int8-dynamic"):
            if name in asked and onnx and not (prefix and name == "fp16-weights"):  # as fast as the teacher's fp32
                settings = stages.Lighter(variant=name, dialect=onnx[0].dialect.on(self.cpu))
                lighter = self.engine.call(stages.LIGHTER, settings, {"hub": hub}, self.at(f"{prefix}{name}"))
                found |= self.exported(f"{prefix}{name}", lighter, onnx)
        return found | (self.integers(hub, prefix, texts) if "int8" in asked else {})

    def integers(self, hub: Result, prefix: str, texts: Result) -> dict[str, Result]:
        """With fixed ranges, in each dialect."""
        found: dict[str, Result] = {}
        for dialect, members in by_dialect(self.runtimes, self.cpu).items():
            plan = stages.StaticText(
                dialect=dialect, texts=self.pipeline.calibration_texts, tables=not isinstance(members[0], CompilerSpec),
                length=self.read if self.profile.fixes_shapes else self.pipeline.lengths.train,
            )  # fmt: skip
            at = self.at(self.named(f"{prefix}int8", members[0]))
            made = self.engine.call(stages.STATIC, plan, {"hub": hub, "texts": texts}, at)
            found |= self.exported(f"{prefix}int8", made, members)
        return found

    def exported(self, variant: str, hub: Result, members: Sequence[RuntimeSpec]) -> dict[str, Result]:
        """In several runtimes; why one is left out is kept for the report."""
        found = {}
        for spec in members:
            name = self.named(variant, spec)
            settings = deploy.Export(
                runtime=spec, cpu=self.cpu, model=f"{self.pipeline.name}/{self.profile.name}/{name}",
                needed=variant.endswith(FLOAT) and spec is self.runtimes[0],
            )  # fmt: skip
            uses = (*deploy.EXPORT.uses, *_packages(spec), *exporter.distribution(spec.exporter))
            model = self.engine.call(replace(deploy.EXPORT, uses=uses), settings, {"hub": hub}, self.at(name))
            if isinstance(model, Artifact) and not exporter.is_written(model):
                self.not_written[name] = exporter.read(model)["refused"]
            else:
                found[name] = model
        return found

    def compare(self, models: Mapping[str, Result], bases: Sequence[str], what: str = "variants") -> Result:
        stage, settings = hardware.comparing(self.cpu, self.profile.measure, tuple(bases), self.there)
        return self.engine.call(self._with_runtimes(stage), settings, prefixed("model", models), self.at(what))

    def evaluated(
        self, models: Mapping[str, Result], hubs: Mapping[str, Result], learnt: Taught, split: Any
    ) -> dict[str, Result]:
        """What each answers; a hub has the tokenizer."""
        stage, settings = self._judging(split)
        more = {"texts": learnt.texts} | ({"pairs": learnt.pairs} if learnt.pairs is not None else {})
        found = {}
        for name, model in models.items():
            inputs = {"model": model, "hub": hubs[OF_TEACHER if name.startswith(OF_TEACHER) else ""]} | more
            found[name] = self.engine.call(stage, settings, inputs, self.at(f"{name}, {split}"))
        return found

    def _judging(self, split: Any) -> tuple[Stage[Any], Settings]:
        count = self.pipeline.judged_texts
        if self.there is None:
            here = stages.EvaluateText(split=split, cpu=self.cpu, texts=count)
            return self._with_runtimes(stages.EVALUATE), here
        asked = stages.EvaluateTextThere(split=split, cpu=self.cpu, texts=count, there=self.there)
        return self._with_runtimes(stages.EVALUATE_THERE), asked

    def _with_runtimes(self, stage: Stage[Any]) -> Stage[Any]:
        """The stage with the versions of the runtimes in its key."""
        return replace(stage, uses=(*stage.uses, *(package for spec in self.runtimes for package in _packages(spec))))


def taking_text(profile: DeviceProfile, device: str | None) -> Where:
    """With the runtimes there that take floats of any length. Raises UnavailableError where none does."""
    where = where_of(profile, device)
    found = tuple(spec for spec in where.runtimes if takes_floats(spec))
    if not found:
        raise UnavailableError(
            f"device {profile.name}: no runtime {f'on {device}' if device else 'here'} takes graphs of free length; "
            "install onnxruntime"
        )
    return where.model_copy(update={"runtimes": found})


def check_single_file(pipeline: AnyTextPipeline, profile: DeviceProfile) -> None:
    """Before anything is trained. Raises EdgekdError."""
    if pipeline.single_file and profile.fixes_shapes:
        raise UnsupportedError(
            f"single_file: device {profile.name} has fixed shapes, and nothing in the file would pad"
        )
    if pipeline.single_file and not is_installed("onnxruntime-extensions"):
        raise UnavailableError("single_file: needs onnxruntime-extensions; pip install 'edgekd[text-single-file]'")


def _packages(spec: RuntimeSpec) -> tuple[str, ...]:
    """Its packages; of a compiler any of several may be the one that compiles."""
    return tuple(name for name in spec.packages if not isinstance(spec, CompilerSpec) or is_installed(name))


def prefixed(prefix: str, results: Mapping[str, Result]) -> dict[str, Result]:
    return {f"{prefix}.{name}": result for name, result in results.items()}
