"""What a script calls to take units out of a trained net until it is fast enough, and to teach what is left."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from edgekd.api import check_code
from edgekd.budget import TEACHER, TEACHER_INT8
from edgekd.deploy import exporter
from edgekd.deploy.evaluate import correct
from edgekd.distill import stages as distill
from edgekd.engine.events import Listener, Silent
from edgekd.engine.executor import Builder
from edgekd.engine.faults import explained
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact, Store
from edgekd.engine.swap import put_in_place
from edgekd.engine.usage import Usage
from edgekd.engine.workspace import default_workspace, temporary_files_in
from edgekd.errors import ConfigError, UnavailableError
from edgekd.hardware.here import installed, takes_floats
from edgekd.hardware.measure import result
from edgekd.hardware.profile import load_profile
from edgekd.keeping import targets_of
from edgekd.models.shape import NetShape, shape_of
from edgekd.pipeline import Pipeline, load_pipeline
from edgekd.probing import float_settings
from edgekd.prune import stages as prune
from edgekd.prune.cut import CHOSEN
from edgekd.prune.ladder import own_net
from edgekd.report.cuts import markdown
from edgekd.search.latency import QUICKLY
from edgekd.sources import dataset_of, teacher_of
from edgekd.stats import paired_difference, proportion_interval
from edgekd.target import Target

REPORT = "pruned.json"


@dataclass(frozen=True)
class Pruning:
    """Shares of the int8 net's latency that are wanted, and how units are chosen; each with each is one net."""

    ratios: tuple[float, ...]
    by: tuple[prune.By, ...] = ("latency",)
    step: int = 8
    seeds: tuple[int, ...] = (0,)

    def nets(self) -> dict[str, tuple[float, prune.By, int]]:
        """By name."""

        def name(ratio: float, by: str, seed: int) -> str:
            parts = [f"{ratio:g}", *([by] if len(self.by) > 1 else []), *([f"s{seed}"] if len(self.seeds) > 1 else [])]
            return "-".join(parts)

        return {name(*each): each for each in product(self.ratios, self.by, self.seeds)}


def prune_net(
    pipeline: Pipeline | str,
    asked: Pruning,
    *,
    target: str | None = None,
    runtime: str | None = None,
    out: Path = Path("pruned"),
    workspace: Path | None = None,
    listener: Listener | None = None,
    allow_code: bool = False,
) -> dict[str, Any]:
    """
    The pipeline's teacher, smaller, for each latency that is asked for: cut, taught by itself, int8, measured beside
    the whole one. Left in `out`, a folder each; the report.

    The ladder of what each block is worth and the staircase of what it costs are made once for all budgets. What is
    finished is kept in the workspace. Raises EdgekdError.
    """
    pipeline = load_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
    _check(pipeline, asked)
    check_out(out)
    check_code(pipeline.code, allow_code)
    profile = load_profile(target or pipeline.targets[0])
    if runtime is not None:
        first = profile.runtime(runtime)
        others = tuple(spec for spec in profile.runtimes if spec is not first)
        profile = profile.model_copy(update={"runtimes": (first, *others)})
    store = Store(workspace or default_workspace())
    with explained("workspace", store.root), temporary_files_in(store.root), Usage(store.root).registered() as need:
        if runtime is not None and installed(profile)[0].name != runtime:
            raise UnavailableError(f"--runtime {runtime}: is not installed; pip install 'edgekd[{runtime}]'")
        run = _Run.of(Builder(store, listener or Silent(), pipeline=pipeline.name, need=need), pipeline, profile)
        cuts = {name: run.cut(name, ratio, by, asked.step) for name, (ratio, by, _) in asked.nets().items()}
        made = {name: run.made(name, cuts[name], by, seed) for name, (_, by, seed) in asked.nets().items()}
        report = run.told(made)
        leave(made, report, out)
    return report


def _check(pipeline: Pipeline, asked: Pruning) -> None:
    for ratio in asked.ratios:
        if not 0 < ratio < 1:
            raise ConfigError(f"prune: latency_ratio {ratio:g}: a share of the whole net's latency, between 0 and 1")
    if pipeline.distill.start == "teacher" or pipeline.distill.dual_head is not None:
        raise ConfigError("prune: the net goes on from its own weights; leave distill.start and distill.dual_head out")
    for what, there_is in (
        ("teacher.pool", pipeline.teacher.pool), ("distill.unlabelled", pipeline.distill.unlabelled),
        ("distill.assistant", pipeline.distill.assistant != "none"),
    ):  # fmt: skip
        if there_is:
            raise ConfigError(
                f"prune: {what}: the whole net alone teaches what is left of it, on labelled data; leave it out"
            )
    if len(asked.nets()) < len(asked.ratios) * len(asked.by) * len(asked.seeds):
        raise ConfigError(
            f"prune: latency_ratio: {', '.join(map(str, asked.ratios))}: two are hardly apart; leave one out"
        )


@dataclass(frozen=True)
class Made:
    """One smaller net: its checkpoint, its exported int8 file, and that file's answers on test."""

    by: str
    seed: int
    cut: Artifact
    net: Artifact
    model: Artifact
    test: Artifact


@dataclass(frozen=True)
class _Run:
    builder: Builder
    pipeline: Pipeline
    target: Target
    data: Artifact
    net: Artifact
    lesson: dict[str, Any]
    whole: dict[str, Any]

    @classmethod
    def of(cls, builder: Builder, pipeline: Pipeline, profile: Any) -> _Run:
        target = Target.of(builder, pipeline, profile)
        data = dataset_of(builder, pipeline)
        net, given = teacher_of(builder, pipeline, data)
        own_net(there(net))  # before anything is trained
        kept = targets_of(builder, pipeline, data, net, given)
        lesson = {"data": data, "teacher": net} | ({"targets": kept} if kept else {})
        return cls(builder, pipeline, target, there(data), there(net), lesson, _whole(target, net, data))

    def cut(self, name: str, ratio: float, by: prune.By, step: int) -> Artifact:
        settings = prune.Cut(ratio=ratio, by=by, step=step, preprocess=self.pipeline.preprocess.outside)
        worth = {"net": self.net, "data": self.data, "ladder": self.ladder(step), "staircase": self.staircase(step)}
        worth["path"] = self.path(worth, by, step)
        return self.builder.call(prune.CUT, settings, worth, Coordinates(self.target.profile.name, name))

    def made(self, name: str, cut: Artifact, by: prune.By, seed: int) -> Made:
        target, at = self.target, Coordinates(self.target.profile.name, name)
        shape = shape_of(cut.json("shape.json"))
        student = self.builder.call(distill.GIVEN, distill.GiveStudent(shape=shape), {}, at)
        lesson = self.lesson | {"student": student, "first": cut}
        plan = float_settings(self.builder, self.pipeline, lesson, at)
        assert plan is not None
        plan = plan.model_copy(update={"train": plan.train.model_copy(update={"seed": plan.train.seed + seed})})
        net = self.builder.call(distill.FLOAT, plan, lesson, at)
        hub = target.quantised(net, self.data, target.dialect, at, self.pipeline.sparsity)
        model = there(target.export(hub, at, target.runtime))
        if not exporter.is_written(model):
            raise UnavailableError(f"{at}: {exporter.read(model)['refused']}")
        return Made(by, seed, cut, net, model, there(target.evaluate(model, self.data, "test", name)))

    def ladder(self, step: int) -> Artifact:
        settings = prune.Climb(step=step, preprocess=self.pipeline.preprocess.outside)
        return self.builder.call(prune.LADDER, settings, {"net": self.net, "data": self.data})

    def staircase(self, step: int) -> Artifact:
        target = self.target
        settings = prune.Staircase(
            shape=self._shape(), step=step, preprocess=self.pipeline.preprocess, runtime=target.measured_in,
            cpu=target.cpu, measuring=QUICKLY,
        )  # fmt: skip
        stage = target.versioned(prune.STAIRCASE)
        return self.builder.call(stage, settings, {"data": self.data}, Coordinates(target.profile.name))

    def path(self, worth: dict[str, Artifact], by: prune.By, step: int) -> Artifact:
        target = self.target
        settings = prune.Walk(
            by=by, step=step, preprocess=self.pipeline.preprocess, runtime=target.measured_in, cpu=target.cpu,
            measuring=QUICKLY,
        )  # fmt: skip
        at = Coordinates(target.profile.name, variant=by)
        return self.builder.call(target.versioned(prune.PATH), settings, worth, at)

    def _shape(self) -> NetShape:
        tree = self.net.json("config.json")
        return shape_of({name: tree[name] for name in NetShape.model_fields if name in tree})

    def told(self, made: dict[str, Made]) -> dict[str, Any]:
        target, names = self.target, (TEACHER, TEACHER_INT8)
        right = {name: correct(there(target.evaluate(self.whole[name], self.data, "test", name))) for name in names}
        right |= {name: correct(each.test) for name, each in made.items()}
        models = self.whole | {name: each.model for name, each in made.items()}
        seen = result.read(there(target.compare(models, names, "pruned")))
        rows = {
            name: {
                "by": each.by, "seed": each.seed, **each.cut.json(CHOSEN),
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


def _whole(target: Target, net: Result, data: Result) -> dict[str, Any]:
    """The net as it is: int8 in the runtime that counts, float in the first one that takes floats."""
    at = {name: target.at(name) for name in (TEACHER, TEACHER_INT8)}
    able = next((spec for spec in target.runtimes if takes_floats(spec)), None)
    if able is None:
        raise UnavailableError(f"device {target.profile.name}: no runtime here runs the float net to compare with")
    integers = target.quantised(net, data, target.dialect, at[TEACHER_INT8])
    return {
        TEACHER: target.export(target.hub(net, data, TEACHER), at[TEACHER], able),
        TEACHER_INT8: target.needed(integers, at[TEACHER_INT8]),
    }


def there(found: Result) -> Artifact:
    """Of a builder, which has everything that it was asked for."""
    assert isinstance(found, Artifact)
    return found


def check_out(out: Path) -> None:
    if out.exists() and not (out / REPORT).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: is there and nothing that edgekd prune left; choose another folder")


def leave(made: dict[str, Made], report: dict[str, Any], out: Path) -> None:
    """A folder each in `out`, whole; what `edgekd prune` left there before is replaced. Raises EdgekdError."""
    check_out(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as work:
            new = Path(work) / "new"
            for name, each in made.items():
                shutil.copytree(each.net.path, new / name / "checkpoint")
                shutil.copy(each.cut.file(CHOSEN), new / name)
                for file in exporter.read(each.model)["files"]:
                    shutil.copy(each.model.file(file), new / name)
            (new / REPORT).write_text(json.dumps(report, indent=1), "utf-8")
            (new / "pruned.md").write_text(markdown(report), "utf-8")
            put_in_place(new, out, Path(work) / "old")
    except OSError as error:
        raise UnavailableError(f"--out {out}: cannot be written: {error.strerror}; choose another place") from error


def ratios_of(texts: Sequence[str]) -> tuple[float, ...]:
    """Numbers as they are typed, `0.5,0.7` or one by one. Raises ConfigError."""
    found = []
    for text in (part for each in texts for part in each.split(",")):
        try:
            found.append(float(text))
        except ValueError:
            raise ConfigError(f"--latency-ratio {text}: is no number; give one as 0.5") from None
    return tuple(dict.fromkeys(found))
