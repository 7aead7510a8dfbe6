"""A model exported as it is, as plain Python over memoised stages: take, quantise by dialect, export, prove, choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field

from edgekd.budget import Budget
from edgekd.data.stages import LOAD_ARCHIVE, Archive, Split
from edgekd.deploy import exporter
from edgekd.deploy import stages as deploy
from edgekd.engine.executor import Engine
from edgekd.engine.plan import Result
from edgekd.engine.stage import Coordinates
from edgekd.engine.store import Artifact
from edgekd.errors import UnavailableError
from edgekd.hardware import stages as hardware
from edgekd.hardware.dialect import Dialect
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.here import by_dialect, installed, takes_floats
from edgekd.hardware.profile import DeviceProfile, this_cpu
from edgekd.hardware.specs import OpenVinoSpec, Runnable
from edgekd.quant import stages as quant
from edgekd.report import stages as report
from edgekd.settings import Settings
from edgekd.toolchains.catalogue import CATALOGUE, toolchain

FURTHER: tuple[quant.Recipe, ...] = (
    "percentile",
    "entropy",
    "mse",
    "bias-correction",
    "equalisation",
    "smooth",
)  # tried where min-max loses too much


class AsIs(Settings):
    """What `edgekd export` is asked: a model, samples, and what may be lost."""

    name: str
    model: deploy.TakeOnnx
    data: Archive
    budget: Budget
    recipe: quant.Recipe | None = None  # None: min-max, and the others where it loses more than the margin
    samples: int = Field(default=512, ge=1)  # that ranges are taken from
    labelled: bool = True  # else a sample is right where the given model's answer is kept
    trained: bool = True  # random weights have near ties everywhere: whether answers agree says nothing of them


@dataclass(frozen=True)
class Exported:
    models: Mapping[str, Result]  # by variant@runtime
    data: Result
    report: Result


def as_is(engine: Engine, asked: AsIs, profile: DeviceProfile, differences: Sequence[str] | None = None) -> Exported:
    """The export for one target; the same code plans it (see `edgekd.chain`)."""
    device = this_cpu(profile)
    runtimes = installed(profile)
    call, here = engine.call, Coordinates(target=profile.name)
    dataset = call(LOAD_ARCHIVE, asked.data, {})
    hub = call(deploy.TAKE, asked.model, {"data": dataset})
    run = _Run(engine, asked, profile, device, dataset, hub)
    models = run.floats(runtimes)
    base = next(iter(models))
    val = {base: run.evaluate(models[base], "val", base)}
    recipes: dict[str, Result] = {}
    for dialect, members in by_dialect(runtimes, device).items():
        made, how = run.int8(dialect, members, val, base)
        models |= made
        recipes |= {f"{members[0].name}": how} if how else {}
    models |= run.dynamic(runtimes)
    models = {name: model for name, model in models.items() if exporter.is_written(model)}
    val |= {name: run.evaluate(model, "val", name, val[base]) for name, model in models.items() if name not in val}
    compared = run.compare(models, base)
    judged = {"comparison": compared} | _prefixed("model", models) | _prefixed("val", val)
    settings = deploy.Select(budget=asked.budget, variants=tuple(models), base=base, floor=base)
    selection = call(deploy.SELECT, settings, judged, here)
    shipped = selection.json("decision.json")["variant"] if isinstance(selection, Artifact) else base
    test = {base: run.evaluate(models[base], "test", base)}
    test[shipped] = run.evaluate(models[shipped], "test", shipped, test[base]) if shipped != base else test[base]
    told = call(
        report.EXPORTED,
        report.TellExport(
            name=asked.name, target=profile.name, select=settings, labelled=asked.labelled,
            not_written=run.not_written(),
            replayed=tuple(differences) if differences is not None else None,
        ),
        judged | {"selection": selection, "hub": hub} | _prefixed("test", test)
        | _prefixed("recipe", recipes),
        here,
    )  # fmt: skip
    return Exported(models, dataset, told)


@dataclass
class _Run:
    engine: Engine
    asked: AsIs
    profile: DeviceProfile
    cpu: Cpu
    data: Result
    hub: Result

    def __post_init__(self) -> None:
        self._refused: dict[str, str] = {}

    def floats(self, runtimes: Sequence[Runnable]) -> dict[str, Result]:
        """The given model in every runtime that takes floats, and at 16 bits where the CPU gains from them."""
        able = [spec for spec in runtimes if takes_floats(spec)]
        found = {_at("fp32", spec): self.export(self.hub, spec, "fp32", needed=spec is able[0]) for spec in able}
        for spec in runtimes:
            if isinstance(spec, OpenVinoSpec) and spec.precision == "f32":
                for half in self.cpu.halves:
                    set_to = spec.model_copy(update={"precision": half})
                    found[_at(half, spec)] = self.export(self.hub, set_to, half)
        if not found:
            raise UnavailableError(f"device {self.profile.name}: no runtime here runs the float model to compare with")
        return found

    def int8(
        self, dialect: Dialect, members: Sequence[Runnable], val: Mapping[str, Result], base: str
    ) -> tuple[dict[str, Result], Result | None]:
        """int8 by min-max; by what keeps most on val, where that loses more than the margin. And how it was chosen."""
        first = self.asked.recipe or "min-max"
        if first in CATALOGUE and dialect.activation != "uint8-affine":
            why = f"recipe {first}: writes uint8 activations, and this runtime takes {dialect.activation}"
            self._refused |= {_at("int8", spec): why for spec in members}
            return {}, None
        hub = self._quantised(dialect, first)
        models = self._in(members, hub)
        if self.asked.recipe is not None or not exporter.is_written(models[_at("int8", members[0])]):
            return models, None
        at = self._here(_at("int8", members[0]))
        seen: dict[str, Result] = {
            first: self.evaluate(models[_at("int8", members[0])], "val", str(at.variant), val[base])
        }
        margin = self.asked.budget.accuracy_drop_points
        if margin is None:
            return models, None
        needed = self.engine.call(
            quant.NEEDS_MORE, quant.NeedsQat(margin_points=margin), {"fp32": val[base], "ptq": seen[first]}, at
        )
        if isinstance(needed, Artifact) and not needed.json("decision.json")["qat"]:
            return models, needed
        hubs = {first: hub} | {name: self._quantised(dialect, name) for name in FURTHER}
        for name in FURTHER:
            model = self.export(hubs[name], members[0], f"int8 {name}")
            if not exporter.is_written(model):
                continue
            seen[name] = self.evaluate(model, "val", f"int8 {name}@{members[0].name}", val[base])
        how = self.engine.call(
            quant.CHOOSE_RECIPE,
            quant.ChooseRecipe(recipes=tuple(name for name in (first, *FURTHER) if name in seen)),
            _prefixed("val", seen),
            at,
        )
        chosen = how.json("decision.json")["recipe"] if isinstance(how, Artifact) else first
        return self._in(members, hubs[chosen]), how

    def dynamic(self, runtimes: Sequence[Runnable]) -> dict[str, Result]:
        """For models of matrix products, in ONNX Runtime, which has kernels for it."""
        products = isinstance(self.hub, Artifact) and self.hub.json("about.json")["products"] > 1
        spec = next((spec for spec in runtimes if spec.name == "onnxruntime"), None)
        if spec is None or not products:
            return {}
        settings = quant.DynamicGiven(dialect=spec.dialect.on(self.cpu))
        at = self._here(_at("int8-dynamic", spec))
        hub = self.engine.call(quant.DYNAMIC_GIVEN, settings, {"hub": self.hub}, at)
        return {_at("int8-dynamic", spec): self.export(hub, spec, "int8-dynamic")}

    def export(self, hub: Result, spec: Runnable, variant: str, *, needed: bool = False) -> Result:
        at = self._here(_at(variant, spec))
        settings = deploy.Export(
            runtime=spec, cpu=self.cpu, model=f"{self.asked.name}/{at}", trained=self.asked.trained,
            needed=needed,
        )  # fmt: skip
        stage = replace(
            deploy.EXPORT, uses=(*deploy.EXPORT.uses, *spec.packages, *exporter.distribution(spec.exporter))
        )
        made = self.engine.call(stage, settings, {"hub": hub}, at)
        if isinstance(made, Artifact) and not exporter.is_written(made):
            self._refused[_at(variant, spec)] = made.json("export.json")["refused"]
        return made

    def evaluate(self, model: Result, split: Split, name: str, like: Result | None = None) -> Result:
        settings = deploy.Evaluate(split=split, cpu=self.cpu, batch=32)
        inputs = {"model": model, "data": self.data}
        if like is not None and not self.asked.labelled:
            inputs |= {"like": like}
        stage = self._with_runtimes(deploy.EVALUATE)
        return self.engine.call(stage, settings, inputs, self._here(f"{name}, {split}"))

    def compare(self, models: Mapping[str, Result], base: str) -> Result:
        settings = hardware.Compare(cpu=self.cpu, measuring=self.profile.measure, bases=(base,))
        stage = self._with_runtimes(hardware.COMPARE)
        return self.engine.call(stage, settings, _prefixed("model", models), self._here("variants"))

    def not_written(self) -> dict[str, str]:
        return dict(self._refused)

    def _quantised(self, dialect: Dialect, recipe: quant.Recipe) -> Result:
        pins = toolchain(recipe).digest if recipe in CATALOGUE else None
        settings = quant.PtqGiven(dialect=dialect, recipe=recipe, samples=self.asked.samples, pins=pins)
        inputs = {"hub": self.hub, "data": self.data}
        if recipe == "min-max":  # seen once for all dialects
            inputs["ranges"] = self.engine.call(
                quant.RANGES, quant.SeeRanges(samples=self.asked.samples), inputs, self._here("all dialects")
            )
        return self.engine.call(quant.PTQ_GIVEN, settings, inputs, self._here(f"{dialect}, {recipe}"))

    def _in(self, members: Sequence[Runnable], hub: Result) -> dict[str, Result]:
        return {_at("int8", spec): self.export(hub, spec, "int8") for spec in members}

    def _with_runtimes(self, stage: Any) -> Any:
        """The stage with the versions of the runtimes in its key."""
        packages = (package for spec in installed(self.profile) for package in spec.packages)
        return replace(stage, uses=(*stage.uses, *packages))

    def _here(self, variant: str) -> Coordinates:
        return Coordinates(target=self.profile.name, variant=variant)


def _at(variant: str, spec: Runnable) -> str:
    return f"{variant}@{spec.name}"


def _prefixed(prefix: str, results: Mapping[str, Result]) -> dict[str, Result]:
    return {f"{prefix}.{name}": result for name, result in results.items()}
