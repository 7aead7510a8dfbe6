"""`edgekd bakeoff`."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.console import parse_duration
from edgekd.cli.options import AllowCode, PipelineName, Set, TensorBoard, Verbose, WorkspaceOption, parse_numbers
from edgekd.units import duration


def parse_rates(text: str) -> tuple[float, ...]:
    found = tuple(sorted(set(parse_numbers(text, "--rates"))))
    if not found or not all(0 < rate < math.inf for rate in found):
        raise typer.BadParameter(f"{text!r}: write rates above 0, like 0.05,0.1,0.2", param_hint="--rates")
    return found


def bakeoff(
    pipeline: PipelineName,
    student: Annotated[
        str, typer.Option(help="resnet8 (6 n + 2 layers), a folder that edgekd left, or a .yaml of a shape.")
    ],
    recipe: Annotated[
        list[str] | None, typer.Option(help="kd-standardised, dkd, pld, ...; may be given again. All, without one.")
    ] = None,
    rates: Annotated[str, typer.Option(help="Peak learning rates that each recipe is tried at.")] = "0.05,0.1,0.2",
    epochs: Annotated[int, typer.Option(min=1, help="Of the first round.")] = 10,
    keep: Annotated[int, typer.Option(min=0, help="How many of the best go on, beside the controls.")] = 3,
    final_student: Annotated[
        str | None, typer.Option(help="Another student for the second round: rates and recipes come from the first's.")
    ] = None,
    final_epochs: Annotated[int, typer.Option(min=1, help="Of the second round.")] = 30,
    final_seeds: Annotated[int, typer.Option(min=2, help="Of the second round: what intervals are over.")] = 5,
    views: Annotated[int, typer.Option(min=1, help="Of each sample, that the teacher answers once for all.")] = 8,
    tensorboard: TensorBoard = None,
    time_budget: Annotated[
        str | None, typer.Option(help="90s, 30m, 2h: no run begins that would end later. The same command goes on.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where bakeoff.md, .json and .svg go.")] = Path("bakeoff"),
    set_: Set = None,
    workspace: WorkspaceOption = None,
    allow_code: AllowCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON on stdout.")] = False,
    verbose: Verbose = 0,
) -> None:
    """
    Find the losses that pay on a PIPELINE's data, beside tuned cross-entropy, KD and a teacher that knows nothing.

    At one fixed learning rate nearly every loss looks better than cross-entropy: so every recipe is tried at several
    rates first, and the best go into a second round with more seeds, whose paired intervals are what counts.

    Examples:
      edgekd bakeoff digits --student resnet8 --time-budget 30m

      edgekd bakeoff flowers.yaml --student resnet20 --recipe pld --recipe dkd --rates 0.05,0.1,0.2,0.4
    """
    from edgekd.bakeoff import CONTROLS, METHODS, BakeOff, fitting
    from edgekd.baking import bakeoff as bake
    from edgekd.cli.progress import Watcher
    from edgekd.cli.tensorboard import logged
    from edgekd.distilling import student_shape
    from edgekd.errors import ConfigError
    from edgekd.pipeline import load_pipeline
    from edgekd.teacher.stages import KeptViews

    start = time.perf_counter()
    for name in recipe or ():
        if name in CONTROLS:
            raise ConfigError(f"--recipe {name}: is a control, and runs beside whatever you name; leave it out")
        if name not in METHODS:
            raise ConfigError(f"--recipe {name}: no such recipe; there are {', '.join(METHODS)}")
    first, last = student_shape(student), student_shape(final_student) if final_student else None
    fit = fitting(last or first, fitting(first))
    asked = BakeOff(
        student=first, final_student=last,
        recipes=tuple(name for name in METHODS if (name in recipe if recipe else name in fit)),
        rates=parse_rates(rates), epochs=epochs, keep=keep, final_epochs=final_epochs,
        final_seeds=final_seeds, kept=KeptViews(views=views),
    )  # fmt: skip
    with Watcher(verbose=bool(verbose)) as watcher:
        told = bake(
            load_pipeline(pipeline, set_ or ()), asked, out=out, workspace=workspace,
            listener=logged(watcher, tensorboard),
            time_s=parse_duration(time_budget) if time_budget else None, allow_code=allow_code,
        )  # fmt: skip
        watcher.said(f"{watcher.ran} stages ran, {watcher.cached} cached, {duration(time.perf_counter() - start)}")
    print((told / ("bakeoff.json" if as_json else "bakeoff.md")).read_text("utf-8"))
    if not as_json:
        print(f"table and picture: {told}")
