"""From a net to a smaller one for one target: what units are worth, the cut, the training, int8, and what is told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgekd.budget import TEACHER, TEACHER_INT8
from edgekd.deploy import exporter
from edgekd.deploy.evaluate import correct
from edgekd.distill import stages as distill
from edgekd.engine.executor import Builder
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact
from edgekd.errors import UnavailableError
from edgekd.hardware.here import takes_floats
from edgekd.hardware.measure import result
from edgekd.hardware.specs import RuntimeSpec
from edgekd.keeping import targets_of
from edgekd.models.shape import NetShape, shape_of
from edgekd.pipeline import Pipeline
from edgekd.probing import float_settings
from edgekd.prune import stages as prune
from edgekd.prune.cut import CHOSEN
from edgekd.prune.ladder import own_net
from edgekd.quant import stages as quant
from edgekd.search.latency import QUICKLY
from edgekd.sources import dataset_of, teacher_of
from edgekd.stats import paired_difference, proportion_interval
from edgekd.target import Target


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
class Cutter:
    builder: Builder
    pipeline: Pipeline
    target: Target
    data: Artifact
    net: Artifact  # the whole one, which teaches
    start: Artifact  # the one that is cut: what an earlier round left, or the whole one
    lesson: dict[str, Any]
    whole: dict[str, Any]
    streams: bool  # whether what stages hand on is cut too
    judged: prune.Judged
    parameters: float  # the share of them that may be left

    @classmethod
    def of(
        cls, builder: Builder, pipeline: Pipeline, profile: Any, *, streams: bool, judged: prune.Judged = "answers",
        parameters: float = 1.0,
    ) -> Cutter:  # fmt: skip
        target = Target.of(builder, pipeline, profile)
        data = dataset_of(builder, pipeline)
        net, given = teacher_of(builder, pipeline, data)
        own_net(there(net))  # before anything is trained
        kept = targets_of(builder, pipeline, data, net, given)
        lesson = {"data": data, "teacher": net} | ({"targets": kept} if kept else {})
        models = _whole(target, net, data)
        data, net = there(data), there(net)
        return cls(builder, pipeline, target, data, net, net, lesson, models, streams, judged, parameters)

    def cuts(self, name: str, ratio: float, by: prune.By, step: int, rounds: int, seed: int) -> tuple[Artifact, ...]:
        """
        Of each round what it left, the last one untrained: all take as large a share of the latency, and what one left
        is taught before the next one looks at it anew (Muralidharan et al., "Compact language models via pruning and
        knowledge distillation", 2024, [100], section 3).
        """
        run, found = replace(self, parameters=self.parameters ** (1 / rounds)), list[Artifact]()
        for number in range(1, rounds + 1):
            here = name if number == rounds else f"{name}, round {number}"
            found.append(run.cut(here, ratio ** (1 / rounds), by, step))
            if number < rounds:
                run = replace(run, start=run.trained(here, found[-1], seed))
        return tuple(found)

    def cut(self, name: str, ratio: float, by: prune.By, step: int) -> Artifact:
        settings = prune.Cut(
            ratio=ratio, by=by, parameters=self.parameters, step=step, preprocess=self.pipeline.preprocess.outside
        )
        worth = {"net": self.start, "data": self.data, "ladder": self.ladder(step), "staircase": self.staircase(step)}
        worth["path"] = self.path(worth, by, step)
        return self.builder.call(prune.CUT, settings, worth, Coordinates(self.target.profile.name, name))

    def made(self, name: str, cuts: tuple[Artifact, ...], by: prune.By, seed: int) -> Made:
        target, at = self.target, Coordinates(self.target.profile.name, name)
        net = self.trained(name, cuts[-1], seed)
        model, told = self.int8(net, at, seed)
        return Made(by, seed, cuts, net, model, there(target.evaluate(model, self.data, "test", name)), told)

    def trained(self, name: str, cut: Artifact, seed: int) -> Artifact:
        at = Coordinates(self.target.profile.name, name)
        shape = shape_of(cut.json("shape.json"))
        student = self.builder.call(distill.GIVEN, distill.GiveStudent(shape=shape), {}, at)
        lesson = self.lesson | {"student": student, "first": cut}
        plan = float_settings(self.builder, self.pipeline, lesson, at)
        assert plan is not None
        plan = plan.model_copy(update={"train": plan.train.model_copy(update={"seed": plan.train.seed + seed})})
        return there(self.builder.call(distill.FLOAT, plan, lesson, at))

    def int8(self, net: Artifact, at: Coordinates, seed: int) -> tuple[Artifact, dict[str, Any]]:
        """By PTQ, or by QAT with the whole net as teacher, where PTQ loses more than the margin and QAT less of it."""
        target, plan = self.target, self.pipeline.quantize
        by = {"ptq": self.exported(target.quantised(net, self.data, target.dialect, at, self.pipeline.sparsity), at)}
        if plan.then == "none":
            return by["ptq"], {"by": "ptq", "why": "quantize.then is none", "val_percent": {}}
        hub = target.hub(net, self.data, str(at.student))
        files = by | {"fp32": there(target.export(hub, at, floats(target)))}
        val = {name: there(target.evaluate(file, self.data, "val", f"{at.student} {name}"))
               for name, file in files.items()}  # fmt: skip
        needed = there(self.builder.call(
            quant.NEEDS_QAT, quant.NeedsQat(margin_points=plan.margin_points), val, at,
        )).json("decision.json")  # fmt: skip
        if needed["qat"]:
            hub = target.taught_as_int8(net, self.net, self.data, target.dialect, at, seed)
            by["qat"] = self.exported(hub, at)
            val["qat"] = there(target.evaluate(by["qat"], self.data, "val", f"{at.student} qat"))
        right = {name: 100 * float(correct(answers).mean()) for name, answers in val.items()}
        best = max(by, key=lambda name: right[name])  # PTQ where they tie
        return by[best], {"by": best, "why": needed["why"], "val_percent": right}

    def exported(self, hub: Result, at: Coordinates) -> Artifact:
        """In the runtime that counts. Raises UnavailableError where it cannot be written."""
        model = there(self.target.export(hub, at, self.target.runtime))
        if not exporter.is_written(model):
            raise UnavailableError(f"{at}: {exporter.read(model)['refused']}")
        return model

    def ladder(self, step: int) -> Artifact:
        settings = prune.Climb(
            step=step, streams=self.streams, judged=self.judged, preprocess=self.pipeline.preprocess.outside
        )
        return self.builder.call(prune.LADDER, settings, {"net": self.start, "data": self.data})

    def staircase(self, step: int) -> Artifact:
        target = self.target
        settings = prune.Staircase(
            shape=self._shape(), step=step, streams=self.streams, preprocess=self.pipeline.preprocess,
            runtime=target.measured_in, cpu=target.cpu, measuring=QUICKLY,
        )  # fmt: skip
        stage = target.versioned(prune.STAIRCASE)
        return self.builder.call(stage, settings, {"data": self.data}, Coordinates(target.profile.name))

    def path(self, worth: dict[str, Artifact], by: prune.By, step: int) -> Artifact:
        target = self.target
        settings = prune.Walk(
            by=by, parameters=self.parameters, step=step, preprocess=self.pipeline.preprocess, runtime=target.measured_in, cpu=target.cpu,
            measuring=QUICKLY,
        )  # fmt: skip
        at = Coordinates(target.profile.name, variant=by)
        return self.builder.call(target.versioned(prune.PATH), settings, worth, at)

    def _shape(self) -> NetShape:
        tree = self.start.json("config.json")
        return shape_of({name: tree[name] for name in NetShape.model_fields if name in tree})

    def told(self, made: dict[str, Made]) -> dict[str, Any]:
        target, names = self.target, (TEACHER, TEACHER_INT8)
        right = {name: correct(there(target.evaluate(self.whole[name], self.data, "test", name))) for name in names}
        right |= {name: correct(each.test) for name, each in made.items()}
        models = self.whole | {name: each.model for name, each in made.items()}
        seen = result.read(there(target.compare(models, names, "pruned")))
        rows = {
            name: {
                "by": each.by, "seed": each.seed, **_of_all_rounds(each.cuts), "int8": dict(each.int8),
                "times_faster": list(seen.speedup_over[TEACHER_INT8][name]),
                "change_points": {base: list(paired_difference(right[base], right[name])) for base in names},
            }
            for name, each in made.items()
        }  # fmt: skip
        variants = {
            name: {
                "accuracy_test_percent": list(proportion_interval(int(right[name].sum()), len(right[name]))),
                "latency_p50_ms": list(seen.models[name].latency_p50_ms),
                "size_bytes": seen.models[name].size_bytes,
            }
            for name in right
        }
        return {
            "schema": 1, "pipeline": self.pipeline.name, "target": target.profile.name,
            "runtime": target.runtime.name, "kind": "measured", "n": len(right[TEACHER]),
            "device": target.cpu.model, "noise": seen.noise.model_dump(mode="json"), "variants": variants,
            "pruned": rows,
        }  # fmt: skip


def _of_all_rounds(cuts: Sequence[Artifact]) -> dict[str, Any]:
    """What the last one left of what the first one found."""
    rows = [cut.json(CHOSEN) for cut in cuts]
    shares = {name: math.prod(row[name] for row in rows) for name in ("ratio", "predicted_ratio")}
    return {**rows[-1], **shares, "before": rows[0]["before"], "rounds": len(rows)}


def _whole(target: Target, net: Result, data: Result) -> dict[str, Any]:
    """The net as it is: int8 in the runtime that counts, float in the first one that takes floats."""
    at = {name: target.at(name) for name in (TEACHER, TEACHER_INT8)}
    able = floats(target)
    integers = target.quantised(net, data, target.dialect, at[TEACHER_INT8])
    return {
        TEACHER: target.export(target.hub(net, data, TEACHER), at[TEACHER], able),
        TEACHER_INT8: target.needed(integers, at[TEACHER_INT8]),
    }


def floats(target: Target) -> RuntimeSpec:
    """The first of the device's runtimes here that takes floats. Raises UnavailableError."""
    able = next((spec for spec in target.runtimes if takes_floats(spec)), None)
    if able is None:
        raise UnavailableError(f"device {target.profile.name}: no runtime here runs the float net to compare with")
    return able


def there(found: Result) -> Artifact:
    """Of a builder, which has everything that it was asked for."""
    assert isinstance(found, Artifact)
    return found
