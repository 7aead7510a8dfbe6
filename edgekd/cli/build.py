"""`edgekd build`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgekd.cli.console import parse_duration, print_json
from edgekd.cli.options import (
    AllowCode,
    Inconclusive,
    Locked,
    MaybePipeline,
    Out,
    Quick,
    ReportsAsJson,
    Samples,
    Set,
    Targets,
    TimeBudget,
    Verbose,
    WorkspaceOption,
)
from edgekd.units import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekd.deploy.bundle import Built
    from edgekd.engine.plan import Step
    from edgekd.pipeline import Pipeline

ACCURACY = ("accuracy_drop_points",)


def build(
    pipeline: MaybePipeline = None,
    target: Targets = None,
    set_: Set = None,
    quick: Quick = False,
    out: Out = Path("dist"),
    workspace: WorkspaceOption = None,
    time_budget: TimeBudget = None,
    locked: Locked = None,
    inconclusive: Inconclusive = "pass",
    include_samples: Samples = 0,
    allow_code: AllowCode = False,
    as_json: ReportsAsJson = False,
    verbose: Verbose = 0,
) -> None:
    """
    Search, distil, quantise, export, measure and prove a student for each target of a PIPELINE.

    Finished work is kept: the same command goes on where it stopped, and reads only when nothing changed.

    Examples:
      edgekd build digits

      edgekd build digits --quick --json

      edgekd build my.yaml --set distill.epochs=40 --time-budget 30m

      edgekd build mine.yaml --allow-code

      edgekd build --locked dist/digits/local-cpu/edgekd.lock --out again
    """
    if inconclusive not in ("pass", "fail"):
        raise typer.BadParameter(f"{inconclusive!r}: pass or fail", param_hint="--inconclusive")
    if (pipeline is None) == (locked is None):
        raise typer.BadParameter("give either a PIPELINE or --locked", param_hint="PIPELINE")
    if locked and (set_ or quick or time_budget or target):
        raise typer.BadParameter("a lock fixes settings and target; leave --set, --quick, --time-budget, --target out")
    from edgekd import api
    from edgekd.cli.progress import Watcher
    from edgekd.pipeline import load_pipeline

    start = time.perf_counter()
    limit_s = parse_duration(time_budget) if time_budget else None
    with Watcher(verbose=bool(verbose)) as watcher:
        where: dict[str, Any] = {"workspace": workspace, "out": out, "listener": watcher}
        where |= {"include_samples": include_samples, "allow_code": allow_code}
        if locked is not None:
            done = [api.rebuild(locked, **where)]
        else:
            settings = load_pipeline(str(pipeline), set_ or (), quick=quick)
            settings = _estimated(settings, target, workspace, limit_s, watcher)
            done = api.build(settings, targets=target or (), **where)
        for sentence in _warnings(done):
            watcher.said(sentence)
        watcher.said(f"{watcher.ran} stages ran, {watcher.cached} cached, {duration(time.perf_counter() - start)}")
    if as_json:
        print_json([{"folder": str(built.folder), "report": built.report} for built in done])
    else:
        for built in done:
            _show(built, quick=quick)
    raise typer.Exit(exit_code(done, inconclusive))


def _warnings(done: list[Built]) -> list[str]:
    """A sentence for every limit that was not kept, or could not be decided."""
    words = {"fail": "failed", "inconclusive": "warning"}
    return [f"{words[v.state]}: {built.target}: {v}" for built in done for v in built.verdicts if v.state in words]


def exit_code(done: Sequence[Built], inconclusive: str) -> int:
    """0; else the first that applies of 3 (accuracy), 4 (latency, size), 5 (undecided and told to fail)."""
    failed = {v.limit for built in done for v in built.verdicts if v.state == "fail"}
    if failed & set(ACCURACY):
        return 3
    if failed:
        return 4
    undecided = any(v.state == "inconclusive" for built in done for v in built.verdicts)
    return 5 if undecided and inconclusive == "fail" else 0


def _estimated(
    settings: Pipeline, targets: list[str] | None, workspace: Path | None, limit_s: float | None, watcher: Any
) -> Pipeline:
    """Say how long it will take; with a time budget, make the pipeline fit it."""
    from edgekd.api import plan, within

    def steps(pipeline: Pipeline) -> list[Step]:
        found = plan(pipeline, targets=targets or (), workspace=workspace).values()
        return [step for row in found for step in row if not step.cached]

    def estimate(pipeline: Pipeline) -> float:
        return sum(step.seconds for step in steps(pipeline))

    expected = estimate(settings)
    if limit_s is not None and expected > limit_s:
        untrained = any(step.stage == "teacher.train" for step in steps(settings))  # else keep the one that is there
        smaller, expected = within(settings, limit_s, estimate, teacher=untrained)
        own = f"teacher {smaller.teacher.train.epochs} epochs, " if smaller.teacher.train else ""
        watcher.said(
            f"--time-budget: {own}distillation {smaller.distill.epochs} epochs, "
            f"{smaller.search.candidates} candidates, {smaller.search.measure} measured"
        )
        if expected > limit_s:
            watcher.said(f"even so it may take {duration(expected)}: exporting and measuring have no smaller size")
        settings = smaller
    if expected > 2:
        watcher.said(f"about {duration(expected)}, by earlier runs here or by a typical machine of two cores")
    return settings


def _show(built: Built, *, quick: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    report = built.report
    table = Table(
        "variant", "accuracy on test", "p50 ms", "times faster", "kB", title=f"{report['pipeline']} on {built.target}"
    )
    for name, row in report["variants"].items():
        faster = row["speedup_over"].get("teacher-fp32")
        table.add_row(
            f"{name} (ships)" if name == report["shipped"] else name,
            f"{row['accuracy_test_percent']['interval'][0]:.1f} %",
            f"{row['latency']['latency_p50_ms'][0]:.3f}",
            f"{faster[0]:.2f} [{faster[1]:.2f}, {faster[2]:.2f}]" if faster else "1",
            f"{row['size_bytes'] / 1e3:.0f}",
        )
    console = Console()
    console.print(table)
    for verdict in built.verdicts:
        console.print(str(verdict), markup=False, highlight=False)
    for reason in report["measurement"]["noise"]["reasons"]:
        console.print(f"Too noisy to rely on these latencies: {reason}.", markup=False)
    if quick:
        console.print("--quick shows the chain; it trains too little for these figures to mean much.")
    console.print(f"bundle: {built.folder}", soft_wrap=True)
