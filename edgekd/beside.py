"""Smaller nets beside the whole one: their int8 files, what these have right, how fast they are, and what is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekd.budget import TEACHER, TEACHER_INT8
from edgekd.cutting import Cutter, asked_of_zeros
from edgekd.deploy import exporter
from edgekd.deploy.evaluate import correct
from edgekd.engine.executor import Builder
from edgekd.engine.plan import Result, artifact
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact
from edgekd.errors import UnavailableError, UnsupportedError
from edgekd.hardware.here import takes_floats
from edgekd.hardware.measure import result
from edgekd.hardware.profile import DeviceProfile
from edgekd.hardware.specs import RuntimeSpec
from edgekd.keeping import targets_of
from edgekd.pipeline import Pipeline
from edgekd.plans import PrunePlan
from edgekd.prune import stages as prune
from edgekd.quant import stages as quant
from edgekd.report.cuts import of_all_rounds
from edgekd.sources import dataset_of, teacher_of
from edgekd.sparse.packing import weighs
from edgekd.stats import paired_difference, proportion_interval
from edgekd.target import Target
from edgekd.teacher.stages import Given


@dataclass(frozen=True)
class Made:
    """One smaller net: its checkpoint, its exported int8 file, and that file's answers on test."""

    by: str
    seed: int
    cuts: tuple[Artifact, ...]  # one a round
    net: Artifact
    model: Artifact
    test: Artifact
    int8: Mapping[str, Any]  # by PTQ or QAT, and why


@dataclass(frozen=True)
class Bench:
    cutter: Cutter
    given: Given | None  # what the whole net is, where it is not trained here
    whole: dict[str, Any]  # its files

    @classmethod
    def of(
        cls, builder: Builder, pipeline: Pipeline, profile: DeviceProfile, plan: PrunePlan, device: str | None = None
    ) -> Bench:
        target = Target.of(builder, pipeline, profile, device)
        floats(target)
        data = dataset_of(builder, pipeline)
        net, given = teacher_of(builder, pipeline, data)
        if given is not None and given.kind == "onnx":
            raise UnsupportedError(
                f"prune: {given.path}: an ONNX file has no layers that could be trained again; give the torch module "
                "that it was made of (a .py with weights), or quantise it as it is (edgekd export)"
            )
        cutter = Cutter.of(target, net, {"data": data, "teacher": net}, plan)
        asked_of_zeros(target, cutter.shape, data)
        kept = targets_of(builder, pipeline, data, net, given)
        return cls(cutter.taught_by(kept), given, _whole(target, net, given, data))

    @property
    def target(self) -> Target:
        return self.cutter.target

    def made(self, name: str, cuts: Sequence[Result], by: prune.By, seed: int) -> Made:
        at = self.target.at(student=name)
        net = artifact(self.cutter.trained(name, cuts[-1], seed))
        model, told = self.int8(net, at, seed)
        test = artifact(self.target.evaluate(model, self.cutter.data, "test", name))
        return Made(by, seed, tuple(map(artifact, cuts)), net, model, test, told)

    def int8(self, net: Artifact, at: Coordinates, seed: int) -> tuple[Artifact, dict[str, Any]]:
        """By PTQ, or by QAT with the whole net as teacher, where PTQ loses more than the margin and QAT less of it."""
        target, data, plan = self.target, self.cutter.data, self.target.pipeline.quantize
        if self.cutter.foreign:
            return self.int8_of_another_family(net, at)
        integers = target.quantised(net, data, target.dialect, at, target.pipeline.sparsity)
        by = {"ptq": self.exported(integers, at)}
        if plan.then == "none":
            return by["ptq"], {"by": "ptq", "why": "quantize.then is none", "val_percent": {}}
        hub = target.hub(net, data, str(at.student))
        files = by | {"fp32": artifact(target.export(hub, at, floats(target)))}
        val = {name: artifact(target.evaluate(file, data, "val", f"{at.student} {name}"))
               for name, file in files.items()}  # fmt: skip
        needed = artifact(target.engine.call(
            quant.NEEDS_QAT, quant.NeedsQat(margin_points=plan.margin_points), val, at,
        )).json("decision.json")  # fmt: skip
        if needed["qat"]:
            hub = target.taught_as_int8(net, self.cutter.net, data, target.dialect, at, seed)
            by["qat"] = self.exported(hub, at)
            val["qat"] = artifact(target.evaluate(by["qat"], data, "val", f"{at.student} qat"))
        right = {name: 100 * float(correct(answers).mean()) for name, answers in val.items()}
        best = max(by, key=lambda name: right[name])  # PTQ where they tie
        return by[best], {"by": best, "why": needed["why"], "val_percent": right}

    def int8_of_another_family(self, net: Artifact, at: Coordinates) -> tuple[Artifact, dict[str, Any]]:
        target, data = self.target, self.cutter.data
        hub = target.hub(net, data, str(at.student))
        plan = quant.PtqGiven(dialect=target.dialect, samples=target.pipeline.quantize.calibration_images)
        integers = target.engine.call(quant.PTQ_GIVEN, plan, {"hub": hub, "data": data}, at)
        why = "QAT is for nets of edgekd's own family"
        return self.exported(integers, at), {"by": "ptq", "why": why, "val_percent": {}}

    def exported(self, hub: Result, at: Coordinates) -> Artifact:
        """In the runtime that counts. Raises UnavailableError where it cannot be written."""
        model = artifact(self.target.export(hub, at, self.target.runtime))
        if not exporter.is_written(model):
            raise UnavailableError(f"{at}: {exporter.read(model)['refused']}")
        return model

    def told(self, made: dict[str, Made]) -> dict[str, Any]:
        target, data, names = self.target, self.cutter.data, (TEACHER, TEACHER_INT8)
        right = {name: correct(artifact(target.evaluate(self.whole[name], data, "test", name))) for name in names}
        right |= {name: correct(each.test) for name, each in made.items()}
        models = self.whole | {name: each.model for name, each in made.items()}
        seen = result.read(artifact(target.compare(models, names, "pruned")))
        rows = {
            name: {
                "by": each.by, "seed": each.seed,
                **of_all_rounds([cut.json(prune.CHOSEN) for cut in each.cuts]), "int8": dict(each.int8),
                "times_faster": list(seen.speedup_over[TEACHER_INT8][name]),
                "change_points": {
                    base: list(paired_difference(right[base], right[name])) for base in (*names, *rivals(made, each))
                },
            }
            for name, each in made.items()
        }  # fmt: skip
        variants = {
            name: {
                "accuracy_test_percent": list(proportion_interval(int(right[name].sum()), len(right[name]))),
                "latency_p50_ms": list(seen.models[name].latency_p50_ms),
                **weighs([model.file(file) for file in exporter.read(model)["files"]])._asdict(),
            }
            for name, model in models.items()
        }
        return {
            "schema": 1, "pipeline": target.pipeline.name, "target": target.profile.name,
            "runtime": target.runtime.name, "kind": "measured", "n": len(right[TEACHER]),
            "device": target.cpu.model, "noise": seen.noise.model_dump(mode="json"), "variants": variants,
            "pruned": rows,
        }  # fmt: skip


def rivals(made: Mapping[str, Made], simple: Made) -> list[str]:
    """Of a net that was chosen in a simpler way: the one of the same ratio and seed that was chosen by latency."""

    def cut_to(each: Made) -> tuple[float, int]:
        return each.cuts[-1].json(prune.CHOSEN)["ratio"], each.seed

    if simple.by == "latency":
        return []
    return [name for name, each in made.items() if each.by == "latency" and cut_to(each) == cut_to(simple)]


def _whole(target: Target, net: Result, given: Given | None, data: Result) -> dict[str, Any]:
    """The net as it is: int8 in the runtime that counts, float in the first one that takes floats."""
    hub = target.teachers_hub(net, given, data)
    integers = target.teachers_int8(hub, net, given, data)
    return {
        TEACHER: target.export(hub, target.at(TEACHER), floats(target)),
        TEACHER_INT8: target.needed(integers, target.at(TEACHER_INT8)),
    }


def floats(target: Target) -> RuntimeSpec:
    """The first of its runtimes that takes floats. Raises UnavailableError."""
    able = next((spec for spec in target.runtimes if takes_floats(spec)), None)
    if able is None:
        raise UnavailableError(
            f"device {target.profile.name}: none of its runtimes that are installed runs the float net to compare with"
        )
    return able
