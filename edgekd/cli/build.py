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
    OnDevice,
    Out,
    Quick,
    ReportsAsJson,
    Samples,
    Set,
    Targets,
    TensorBoard,
    TimeBudget,
    Verbose,
    WorkspaceOption,
)
from edgekd.units import duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekd.deploy.bundle import Built
    from edgekd.engine.plan import Step
    from edgekd.errors import EdgekdError
    from edgekd.tasks import AnyPipeline


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
    device: OnDevice = None,
    tensorboard: TensorBoard = None,
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

      edgekd build sentence-embedding --set student=tiny

      edgekd build digits --target local-cpu --target ethos-u55-128 --target cortex-m7

      edgekd build digits --device ssh://pi@raspberrypi.local

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
    from edgekd.cli.tensorboard import logged
    from edgekd.errors import SomeTargetsFailedError
    from edgekd.hardware.remote.farm import reached
    from edgekd.tasks import load

    start = time.perf_counter()
    there = reached(device) if device else None
    on: dict[str, Any] = {"device": there.address, "runtime": there.runtime} if there else {}
    if there and there.profile and not target and not locked:
        target = [there.profile]
    limit_s = parse_duration(time_budget) if time_budget else None
    failed: dict[str, EdgekdError] = {}
    with Watcher(verbose=bool(verbose)) as watcher:
        where: dict[str, Any] = {"workspace": workspace, "out": out, "listener": logged(watcher, tensorboard)}
        where |= {"include_samples": include_samples, "allow_code": allow_code}
        if locked is not None:
            done = [api.rebuild(locked, device=there.address if there else None, **where)]
        else:
            settings = load(str(pipeline), set_ or (), quick=quick)
            settings = _estimated(settings, target, {"workspace": workspace, **on}, limit_s, watcher)
            try:
                done = api.build(settings, targets=target or (), **where, **on)
            except SomeTargetsFailedError as error:
                done, failed = error.done, error.failed
        for sentence in _warnings(done):
            watcher.said(sentence)
        watcher.said(f"{watcher.ran} stages ran, {watcher.cached} cached, {duration(time.perf_counter() - start)}")
    if as_json:
        told: list[dict[str, Any]] = [{"folder": str(built.folder), "report": built.report} for built in done]
        told += [{"target": name, "error": str(error), "exit_code": error.exit_code} for name, error in failed.items()]
        print_json(told)
    else:
        _show_all(done, failed, quick=quick)
    raise typer.Exit(exit_code(done, inconclusive, some_failed=bool(failed)))


def _warnings(done: list[Built]) -> list[str]:
    """A sentence for every limit that was not kept, or could not be decided."""
    words = {"fail": "failed", "inconclusive": "warning"}
    found = [f"{words[v.state]}: {built.target}: {v}" for built in done for v in built.verdicts if v.state in words]
    return found + [f"warning: {built.target}: {sentence}" for built in done for sentence in built.undecided]


def exit_code(done: Sequence[Built], inconclusive: str, *, some_failed: bool = False) -> int:
    """0; else the first that applies of 3 (accuracy), 4 (costs), 6 (a target), 5 (undecided and told to fail)."""
    from edgekd.budget import QUALITY

    failed = {v.limit for built in done for v in built.verdicts if v.state == "fail"}
    if failed & set(QUALITY):
        return 3
    if failed:
        return 4
    if some_failed:
        return 6
    undecided = any(built.undecided or any(v.state == "inconclusive" for v in built.verdicts) for built in done)
    return 5 if undecided and inconclusive == "fail" else 0


def _estimated(
    settings: AnyPipeline, targets: list[str] | None, where: dict[str, Any], limit_s: float | None, watcher: Any
) -> AnyPipeline:
    """Say how long it will take; with a time budget, make the pipeline fit it."""
    from edgekd.api import within

    def steps(pipeline: AnyPipeline) -> list[Step]:
        names = targets or list(pipeline.targets)
        found = [_planned(pipeline, names, name, where) for name in names]
        each = {(step.stage, step.at): step for row in found for step in row if not step.cached}  # targets share some
        return list(each.values())

    def estimate(pipeline: AnyPipeline) -> float:
        return sum(step.seconds for step in steps(pipeline))

    expected = estimate(settings)
    if limit_s is not None and expected > limit_s:
        trainings = ("teacher.train", "text.teach")
        untrained = any(step.stage in trainings for step in steps(settings))  # else keep the one that is there
        smaller, expected = within(settings, limit_s, estimate, teacher=untrained)
        watcher.said(f"--time-budget: {smaller.effort}")
        if expected > limit_s:
            watcher.said(f"even so it may take {duration(expected)}: exporting and measuring have no smaller size")
        settings = smaller
    if expected > 2:
        watcher.said(f"about {duration(expected)}, by earlier runs here or by a typical machine of two cores")
    return settings


def _planned(pipeline: AnyPipeline, names: Sequence[str], name: str, where: dict[str, Any]) -> list[Step]:
    """Of one target; of several, one that cannot be planned has no steps: the build says why, and goes on."""
    from edgekd.api import plan
    from edgekd.errors import EdgekdError

    try:
        return plan(pipeline, targets=names, only=name, **where)[name]
    except EdgekdError:
        if len(names) == 1:
            raise
        return []


def _show_all(done: Sequence[Built], failed: Mapping[str, EdgekdError], *, quick: bool) -> None:
    """Each target's table; of several targets one that compares them; what failed."""
    from rich.console import Console
    from rich.table import Table

    from edgekd.cli import texts
    from edgekd.report import targets_page

    for built in done:
        if "task" in built.report:
            texts.show(built, quick=quick)
        elif "student_of" in built.report:
            _show_compiled(built)
        else:
            _show(built, quick=quick)
    console = Console()
    if len(done) + len(failed) > 1:
        table = Table(title="targets")
        for heading in targets_page.SHORT:
            table.add_column(heading, no_wrap=True)
        for built in done:
            line = dict(zip(targets_page.HEADINGS, targets_page.cells(targets_page.row(built.report)), strict=True))
            table.add_row(*(line[heading] for heading in targets_page.SHORT))
        for name in failed:
            table.add_row(name, "failed")
        console.print(table)
    for name, error in failed.items():
        console.print(f"{name} failed: {error}", markup=False, highlight=False)


def _show_compiled(built: Built) -> None:
    from rich.console import Console
    from rich.table import Table

    from edgekd.report import compiled, targets_page

    report = built.report
    table = Table(
        "variant", "accuracy on test", "latency", "kB", title=f"{report['pipeline']} on {built.target}, elsewhere"
    )
    for name, row in report["variants"].items():
        table.add_row(
            f"{name} (ships)" if name == report["shipped"] else name,
            compiled.accuracy_of(row),
            targets_page.latency(row["costs"]) if row["costs"] else "",
            f"{row['size_bytes'] / 1e3:.1f}" if row["costs"] else "",
        )
    console = Console()
    console.print(table)
    for sentence in [*map(str, built.verdicts), *built.undecided, *report["variants"][report["shipped"]]["notes"]]:
        console.print(sentence, markup=False, highlight=False)
    console.print(f"bundle: {built.folder}", soft_wrap=True)


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
