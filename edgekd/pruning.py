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
from edgekd.beside import Bench, Made
from edgekd.deploy import exporter
from edgekd.engine.events import Listener, Silent
from edgekd.engine.executor import Builder
from edgekd.engine.faults import explained
from edgekd.engine.store import Store
from edgekd.engine.swap import put_in_place
from edgekd.engine.usage import Usage
from edgekd.engine.workspace import default_workspace, temporary_files_in
from edgekd.errors import ConfigError, UnavailableError
from edgekd.hardware.profile import load_profile
from edgekd.hardware.where import where_of
from edgekd.pipeline import Pipeline, load_pipeline
from edgekd.plans import PrunePlan
from edgekd.prune import stages as prune
from edgekd.prune.stages import CHOSEN
from edgekd.report.cuts import markdown

REPORT = "pruned.json"


@dataclass(frozen=True)
class Pruning:
    """Shares of the int8 net's latency that are wanted, and how units are chosen; each with each is one net."""

    ratios: tuple[float, ...]
    by: tuple[prune.By, ...] = ("latency",)
    step: int = 8
    seeds: tuple[int, ...] = (0,)
    streams: bool = False  # what whole stages hand on is cut too
    judged: prune.Judged = "answers"  # what a place is worth: by the logits, or by all stages on the way to them
    rounds: int = 1  # of cutting and teaching, each with a look of its own
    parameters: float = 1.0  # the share of them that may be left

    @property
    def plan(self) -> PrunePlan:
        """All but the ratio, of which there may be several."""
        return PrunePlan(
            latency_ratio=self.ratios[0], parameters_ratio=self.parameters, stages=self.streams, step=self.step,
            judged=self.judged, rounds=self.rounds,
        )  # fmt: skip

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
    device: str | None = None,
) -> dict[str, Any]:
    """
    The pipeline's teacher, smaller, for each latency that is asked for: cut, taught by itself, int8, measured beside
    the whole one, here or on `device` (ssh://user@host:port). Left in `out`, a folder each; the report.

    The ladder of what each place is worth and the staircase of what it costs are made once for all budgets, and once
    more for each net in every further round. What is finished is kept in the workspace. Raises EdgekdError.
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
        if runtime is not None and where_of(profile, device).runtimes[0].name != runtime:
            on = f" here, or not on {device}" if device else ""
            raise UnavailableError(f"--runtime {runtime}: is not installed{on}; pip install 'edgekd[{runtime}]'")
        builder = Builder(store, listener or Silent(), pipeline=pipeline.name, need=need)
        run = Bench.of(builder, pipeline, profile, asked.plan, device)
        cuts = {name: run.cutter.cuts(name, *each) for name, each in asked.nets().items()}
        made = {name: run.made(name, cuts[name], by, seed) for name, (_, by, seed) in asked.nets().items()}
        report = run.told(made)
        leave(made, report, out)
    return report


def _check(pipeline: Pipeline, asked: Pruning) -> None:
    for ratio in asked.ratios:
        if not 0 < ratio < 1:
            raise ConfigError(f"prune: latency_ratio {ratio:g}: a share of the whole net's latency, between 0 and 1")
    if not 0 < asked.parameters <= 1:
        raise ConfigError(
            f"prune: parameters_ratio {asked.parameters:g}: a share of the whole net's parameters, up to 1"
        )
    if why := pipeline.why_not_pruned:
        raise ConfigError(f"prune: {why}")
    if len(asked.nets()) < len(asked.ratios) * len(asked.by) * len(asked.seeds):
        raise ConfigError(
            f"prune: latency_ratio: {', '.join(map(str, asked.ratios))}: two are hardly apart; leave one out"
        )


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
                shutil.copy(each.cuts[-1].file(CHOSEN), new / name)
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
